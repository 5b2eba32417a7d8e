"""Scheduled scans: due times, the loop that runs them, the webhook that reports."""
