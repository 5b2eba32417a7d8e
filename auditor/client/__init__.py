"""A typed client of the HTTP API of ``auditor serve``; docs/client.md."""

from auditor.client.client import Client
from auditor.client.connection import AccessDeniedError
from auditor.client.listing import Listing
from auditor.client.models import BoostBody, ScanBody, ScheduleBody

__all__ = ["AccessDeniedError", "BoostBody", "Client", "Listing", "ScanBody", "ScheduleBody"]
