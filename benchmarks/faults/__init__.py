"""Audits by real workers while processes, services and links fail: ``python -m benchmarks.faults``."""
