"""Every error that a user can cause: one line that says what was expected, what was got and what to do."""

import sysconfig
import traceback
from pathlib import Path

from auditor.text.redaction import redact, redact_urls

LONGEST = 500


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type's name."""
    return one_line((str(error).splitlines() or [""])[0]) or type(error).__name__


def describe(error: BaseException, folder: Path | None = None) -> str:
    """The type, the first line and the place of somebody else's exception: ``KeyError: 'head' (at net.py:12)``."""
    name, said, place = type(error).__name__, first_line(error), place_of(error, folder)
    told = said if said == name else f"{name}: {said}"
    return f"{told} (at {place})" if place else told


def one_line(text: str) -> str:
    """Other people's words as one line without secrets that any terminal and database takes, cut where long."""
    text = redact(text[: 4 * LONGEST])
    cut = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    printable = cut.encode("utf-8", "backslashreplace").decode("utf-8")
    return " ".join("".join(letter if letter.isprintable() else " " for letter in printable).split())


def place_of(error: BaseException, folder: Path | None = None) -> str:
    """Where other people's code raised an error, ``net.py:12``; empty where it came from elsewhere.

    That is the innermost line of ``folder``'s files, or else of a package that is neither auditor nor torch.
    """
    cause: BaseException | None = error
    while isinstance(cause, AuditorError):
        cause = cause.__cause__
    frames = traceback.walk_tb(None if cause is None else cause.__traceback__)
    calls = [(Path(frame.f_code.co_filename), line) for frame, line in frames]
    inside = [f"{named}:{line}" for file, line in calls if folder and (named := _within(file, folder))]
    others = [f"{named}:{line}" for file, line in calls if (named := _in_package(file))]
    return (inside or others or [""])[-1]


def _within(file: Path, folder: Path) -> str:
    try:
        return str(file.resolve().relative_to(folder.resolve()))
    except (ValueError, OSError):
        return ""


def _in_package(file: Path) -> str:
    """A file's name below where packages are installed, or its last two parts; empty for auditor, torch and Python."""
    for folder in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        if named := _within(file, Path(folder)):
            return "" if named.startswith("torch/") else named
    standard = _within(file, Path(sysconfig.get_path("stdlib"))) or not file.is_file()
    return "" if standard or _within(file, Path(__file__).parent) else "/".join(file.parts[-2:])


class AuditorError(Exception):
    """Base of all errors shown to users as one line; ``exit_code`` is what the command line ends with."""

    exit_code = 1

    def __str__(self) -> str:
        """Without passwords in URLs, whoever has put one in."""
        return redact_urls(super().__str__())


class UsageError(AuditorError):
    """What was asked for does not make sense: an unknown name, a value out of range."""

    exit_code = 2


class EnvironmentUnusableError(AuditorError):
    """The database, a data set or a service that the work needs is not usable."""

    exit_code = 3


class DataError(EnvironmentUnusableError):
    """A data set is missing or its files are not what they should be."""


class ModelLoadError(AuditorError):
    """A model cannot be loaded: its file is missing, damaged or does not fit its architecture."""


class GateError(AuditorError):
    """A scan's results are stored, and worse than what ``--fail-under`` or ``--fail-on-regression`` accept."""

    exit_code = 4


class LinearizationError(AuditorError):
    """A model has no implicit linear map: an operation stays non-linear, or the map is not finite."""


class MeasurementError(AuditorError):
    """A measurement in a process of its own failed, crashed, or went over a limit."""


class MemoryLimitError(MeasurementError):
    """A measurement went over its limit of memory."""


class InputError(AuditorError, ValueError):
    """Images, labels or parameters handed to a function are out of their stated range."""
