"""Text for people: printable, without secrets, with numbers in one format."""
