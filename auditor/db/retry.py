"""Waiting for a database that is away for a while, or full: hours of attacks must not be lost to a restart."""

import functools
import logging
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError
from tenacity import RetryCallState, Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from auditor.errors import first_line

logger = logging.getLogger(__name__)
P = ParamSpec("P")
R = TypeVar("R")
UNAVAILABLE = (OperationalError, InterfaceError)
"""What SQLAlchemy raises for lost connections, servers that start, full disks and locked files, not for wrong SQL."""


def cause_of(error: BaseException) -> str:
    """What the database itself said, in one line."""
    return first_line(getattr(error, "orig", None) or error)


class HasPatience(Protocol):
    """``patience``: for how many seconds to try again; 0 for once."""

    patience: float


S = TypeVar("S", bound=HasPatience)


def with_retries(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """A method that is one transaction, and is repeated while the database is away."""

    @functools.wraps(method)
    def repeated(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        trying = Retrying(
            retry=retry_if_exception_type(UNAVAILABLE),
            wait=wait_exponential(multiplier=0.25, max=10),
            stop=stop_after_delay(self.patience),
            before_sleep=_tell,
            reraise=True,
        )
        result: R = trying(method, self, *args, **kwargs)
        return result

    return repeated


def _tell(state: RetryCallState) -> None:
    error: Any = state.outcome.exception() if state.outcome else None
    logger.warning("waiting for the database: %s", cause_of(error))
