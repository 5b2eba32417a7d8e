"""A message that a worker has taken; it ends the connection if it cannot be acknowledged."""

from celery.utils.log import get_logger
from celery.worker.request import Request as CeleryRequest

logger = get_logger(__name__)


class Request(CeleryRequest):  # type: ignore[misc]
    """Raises the error of a failed acknowledgement, so that the worker reconnects.

    Celery logs such an error and continues. But a Redis channel then counts the message as not acknowledged and takes
    no other one, so a worker with one process would stay idle. A channel that is closed already needs no error.
    """

    acknowledged: bool

    def acknowledge(self) -> None:
        if not self.acknowledged:
            is_closed = getattr(self._message.channel, "closed", True)
            self._on_ack(logger, self._connection_errors if is_closed else ())
            self.acknowledged = True
