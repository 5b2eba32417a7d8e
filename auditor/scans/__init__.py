"""A scan: its request, its plan, and running it in this process."""
