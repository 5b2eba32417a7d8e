"""The service: the Celery app, its tasks, devices and the reaper. It imports auditor; nothing imports it."""
