"""Errors that users can cause, exit codes, and error texts: one line each."""

import sysconfig
import traceback
from enum import IntEnum
from pathlib import Path

from auditor.text.printable import clean_lines
from auditor.text.redaction import redact, redact_urls

LONGEST = 500
LONGEST_LINE = 2000
"""Characters of a line of an :class:`AuditorError`, which may name a path and say what to do."""


class ExitCode(IntEnum):
    """What a command ends with; an unexpected error and models that failed share 1."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNUSABLE = 3
    GATE = 4
    INTERRUPTED = 130


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message, or its type's name."""
    return one_line((str(error).splitlines() or [""])[0]) or type(error).__name__


def file_reason(error: Exception) -> str:
    """Why a file cannot be used: what the system says, without the path again; or the first line of another error."""
    reason: str | None = getattr(error, "strerror", None)
    return reason or first_line(error)


def describe(error: BaseException, folder: Path | None = None) -> str:
    """Describe an exception of third-party code: type, first line and place, ``KeyError: 'head' (at net.py:12)``."""
    name, message, place = type(error).__name__, first_line(error), place_of(error, folder)
    text = message if message == name else f"{name}: {message}"
    return f"{text} (at {place})" if place else text


def one_line(text: str) -> str:
    """Sanitize text to one printable line of at most 500 characters, without secrets."""
    text = redact(text[: 4 * LONGEST])
    cut = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    printable = cut.encode("utf-8", "backslashreplace").decode("utf-8")
    return " ".join("".join(letter if letter.isprintable() else " " for letter in printable).split())


def place_of(error: BaseException, folder: Path | None = None) -> str:
    """Find where third-party code raised an error, ``net.py:12``; empty if auditor, torch or Python raised it.

    The place is the innermost line in ``folder``, or else in a package other than auditor and torch.
    """
    cause: BaseException | None = error
    while isinstance(cause, AuditorError):
        cause = cause.__cause__
    frames = traceback.walk_tb(None if cause is None else cause.__traceback__)
    calls = [(Path(frame.f_code.co_filename), line) for frame, line in frames]
    inside = [f"{name}:{line}" for file, line in calls if folder and (name := _within(file, folder))]
    others = [f"{name}:{line}" for file, line in calls if (name := _in_package(file))]
    return (inside or others or [""])[-1]


def _within(file: Path, folder: Path) -> str:
    try:
        return str(file.resolve().relative_to(folder.resolve()))
    except (ValueError, OSError):
        return ""


def _in_package(file: Path) -> str:
    """Name a file relative to site-packages, or by its last two parts; empty for auditor, torch and Python."""
    for folder in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        if name := _within(file, Path(folder)):
            return "" if name.startswith("torch/") else name
    standard = _within(file, Path(sysconfig.get_path("stdlib"))) or not file.is_file()
    return "" if standard or _within(file, Path(__file__).parent) else "/".join(file.parts[-2:])


class AuditorError(Exception):
    """Base of all errors that are shown to users as one line; a command that raises it ends with ``exit_code``."""

    exit_code = ExitCode.FAILED

    def __str__(self) -> str:
        """The message without passwords in URLs and without control characters, which names of files may have."""
        lines = clean_lines(redact_urls(super().__str__())).split("\n")
        return "\n".join(line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}…" for line in lines)


class UsageError(AuditorError):
    """A request makes no sense: an unknown option or value, or a value out of range."""

    exit_code = ExitCode.USAGE


class NotFoundError(UsageError):
    """A look-up by name or ID found nothing."""


class TooFewImagesError(UsageError):
    """A data set has fewer images than the request asks for."""


class ConflictError(UsageError):
    """The request makes sense, but an object's present state rules it out: a name is taken, a job still runs."""


class EnvironmentUnusableError(AuditorError):
    """The database, a data set or a service that the work needs is not usable."""

    exit_code = ExitCode.UNUSABLE


class DataError(EnvironmentUnusableError):
    """A data set is missing, or its files are damaged."""


class ModelLoadError(AuditorError):
    """A model cannot be loaded: its file is missing, damaged or does not fit its architecture."""


class GateError(AuditorError):
    """A scan's results are stored, and worse than what ``--fail-under`` or ``--fail-on-regression`` accept."""

    exit_code = ExitCode.GATE


class EvidenceError(AuditorError):
    """Evidence is not valid: a file was changed, a signature is wrong, or a figure does not follow from verdicts."""

    exit_code = ExitCode.GATE


class LinearizationError(AuditorError):
    """A model has no implicit linear map: an operation stays non-linear, or the map is not finite."""


class BoundsError(AuditorError):
    """A model has no bounds: an operation without a rule, or a model that cannot be traced."""


class MeasurementError(AuditorError):
    """A measurement in a child process failed, crashed, or exceeded a limit."""


class MemoryLimitError(MeasurementError):
    """A measurement exceeded its memory limit."""


class InputError(AuditorError, ValueError):
    """Images, labels or parameters of a function call are out of their stated range."""
