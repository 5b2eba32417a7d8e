"""Exceptions of the user's code as an InputError with their type, first line, file and line."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from auditor.errors import AuditorError, InputError, describe


@contextmanager
def raise_as_input_errors(what: str = "the model") -> Iterator[None]:
    """Raise exceptions of the user's code as an InputError with their type, first line, file and line."""
    try:
        yield
    except (AuditorError, torch.OutOfMemoryError, MemoryError):
        raise
    except (Exception, SystemExit) as error:
        raise InputError(f"{what} raised {describe(error)}") from error
