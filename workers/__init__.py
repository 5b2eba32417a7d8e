"""The service: the Celery app, its tasks, devices and the reaper. Imports auditor, and is imported by nobody."""
