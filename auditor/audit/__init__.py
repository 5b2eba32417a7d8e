"""One audit, from a zoo entry to a record."""
