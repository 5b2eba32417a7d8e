"""A message in a worker's hands, which ends the connection when it cannot be acknowledged over it."""

from celery.utils.log import get_logger
from celery.worker.request import Request as CeleryRequest

logger = get_logger(__name__)


class Request(CeleryRequest):  # type: ignore[misc]
    """Celery logs an acknowledgement that fails, and goes on. But a Redis channel counts the message as not
    acknowledged then, and takes no other one: a worker with one process would be idle for ever. Raised, the error makes
    the worker connect anew, as any lost connection does. Over a channel that is closed already there is nothing to end.
    """

    acknowledged: bool

    def acknowledge(self) -> None:
        if not self.acknowledged:
            ended = getattr(self._message.channel, "closed", True)
            self._on_ack(logger, self._connection_errors if ended else ())
            self.acknowledged = True
