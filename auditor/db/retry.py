"""Retries while the database is unavailable or full, because a restart must not cost hours of attacks."""

import functools
import logging
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from auditor import tracing
from auditor.errors import first_line

logger = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")
UNAVAILABLE = (OperationalError, InterfaceError)
"""SQLAlchemy raises these for lost connections, starting servers, full disks and locked files, not for wrong SQL."""


def cause_of(error: BaseException) -> str:
    """The message of the database itself, in one line."""
    return first_line(getattr(error, "orig", None) or error)


class HasPatience(Protocol):
    """``patience``: for how many seconds to retry; with 0 there is one attempt."""

    patience: float


S = TypeVar("S", bound=HasPatience)


def with_retries(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Decorates a method that is one transaction: repeats it while the database is unavailable."""

    @functools.wraps(method)
    def repeated(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        if self.patience <= 0:
            return method(self, *args, **kwargs)
        trying = Retrying(
            retry=retry_if_exception_type(UNAVAILABLE),
            wait=wait_exponential(multiplier=0.25, max=10),
            stop=stop_after_delay(self.patience),
            before_sleep=_log_wait,
            reraise=True,
        )
        result: R = trying(method, self, *args, **kwargs)
        return result

    return repeated


def _log_wait(state: RetryCallState) -> None:
    error: Any = state.outcome.exception() if state.outcome else None
    logger.warning("waiting for the database: %s", cause_of(error))
    tracing.event("waiting for the database", reason=cause_of(error), tries=state.attempt_number)
