"""Hostile inputs for every reader: `make fuzz` searches for them, and the tests here repeat what was found."""
