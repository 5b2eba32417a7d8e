"""Prints tables, progress and the details of one result."""
