"""Every error that a user can cause: one line that says what was expected, what was got and what to do."""

import traceback
from pathlib import PurePath

LONGEST = 500


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type's name."""
    return one_line((str(error).splitlines() or [""])[0]) or type(error).__name__


def describe(error: BaseException) -> str:
    """The type, the first line and the place of somebody else's exception: ``KeyError: 'head' (net.py, line 12)``.

    The place is the deepest line outside of installed packages, the standard library and auditor itself.
    """
    name, said = type(error).__name__, first_line(error)
    told = said if said == name else f"{name}: {said}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_theirs(frame.filename)]
    return f"{told} ({PurePath(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else told


_INSTALLED = {"site-packages", "dist-packages"}
_NOT_THEIRS = (str(PurePath(__file__).parent), str(PurePath(traceback.__file__).parent))


def _is_theirs(file: str) -> bool:
    return not (file.startswith((*_NOT_THEIRS, "<")) or _INSTALLED & set(PurePath(file).parts))


def one_line(text: str) -> str:
    """Other people's words as one line that any terminal and database takes, cut where they do not end."""
    cut = text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
    printable = cut.encode("utf-8", "backslashreplace").decode("utf-8")
    return " ".join("".join(letter if letter.isprintable() else " " for letter in printable).split())


class AuditorError(Exception):
    """Base of all errors shown to users as one line; ``exit_code`` is what the command line ends with."""

    exit_code = 1


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


class InputError(AuditorError, ValueError):
    """Images, labels or parameters handed to a function are out of their stated range."""
