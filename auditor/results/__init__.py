"""What stored results amount to: look-up, ranking, pairing, comparison, regressions, serialization."""
