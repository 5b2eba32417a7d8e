"""Settings: AUDITOR_* variables and a .env file, read once."""

import difflib
import functools
import io
import logging
import os
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from dotenv import dotenv_values
from dotenv.parser import parse_stream
from msgspec import Meta
from platformdirs import user_data_path

from auditor.errors import UsageError
from auditor.text import redaction


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one machine; docs/settings.md lists the same.

    Attributes:
        database_url: the database of results, as an SQLAlchemy URL.
        broker_url: the workers' queue, redis:// or amqp://; `auditor doctor` checks it.
        demo_weights: folder of a demo zoo that replaces the shipped one.
        robustbench_models: folder of RobustBench's models, in the layout of its loader.
        checkpoints: folder of fine-tuned checkpoints; workers on several machines share it.
        evidence_key: file of the private key that signs evidence.
        data: folder in torchvision's layout where data sets are looked for, and to which they are downloaded.
        lease_seconds: a job whose process sends no heartbeat for so long is queued again.
        database_patience: seconds for which workers wait for a database that is unavailable or full.
        webhook_url: `auditor beat` reports scans with failures or regressions to it.
        webhook_private: whether the webhook may have a private address.
        log_format: the format of the logs of workers, the reaper and scans: text or JSON.
        batch_size: images attacked at once.
        measure_batch: whether a GPU measures how many images to attack at once.
        threads: CPU threads of each model; all cores by default, or a share of them.
        debug: whether errors have tracebacks, as with `auditor --debug`.
    """

    database_url: str = msgspec.field(default_factory=lambda: f"sqlite:///{user_data_path('auditor') / 'auditor.db'}")
    broker_url: str | None = None
    demo_weights: Path | None = None
    robustbench_models: Path = Path("models")
    checkpoints: Path = msgspec.field(default_factory=lambda: user_data_path("auditor") / "checkpoints")
    evidence_key: Path = msgspec.field(default_factory=lambda: user_data_path("auditor") / "evidence.key")
    data: Path = msgspec.field(default_factory=lambda: Path.home() / ".cache" / "auditor")
    lease_seconds: Annotated[float, Meta(ge=3, le=86_400)] = 60
    database_patience: Annotated[float, Meta(ge=0, le=31_536_000)] = 600
    webhook_url: str | None = None
    webhook_private: bool = False
    log_format: Literal["text", "json"] = "text"
    batch_size: Annotated[int, Meta(ge=1, le=1_000_000)] = 256
    measure_batch: bool = False
    threads: Annotated[int, Meta(ge=1, le=1024)] | None = None
    debug: bool = False

    def __repr__(self) -> str:
        """Without values, because some are passwords."""
        return "Settings()"


OF_SERVICE = re.compile(
    r"_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?(_START|_END)?$|_ENV_"
)
"""Endings of the variables that Kubernetes and Docker set for a service."""
OF_COMPOSE = ("AUDITOR_IMAGE", "AUDITOR_CUDA_IMAGE", "AUDITOR_SECRETS")
"""Variables of compose.yaml, which may be in the same .env file."""
KINDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text"}
SECRET_SETTING = re.compile("webhook|secret|token|password")
SECRET = ("database_url", "broker_url", "webhook_url")
"""Settings that may hold a password: ``AUDITOR_…_FILE`` names a file that holds one, for processes with secrets."""


@functools.cache
def settings() -> Settings:
    """The settings of this process.

    Raises:
        UsageError: a variable has an invalid value, or an unknown name, which may be a misspelt setting.
    """
    given = _read_variables()
    files = {f"AUDITOR_{name.upper()}_FILE": name for name in SECRET}
    secrets = {field: _read_secret(variable) for variable, field in files.items() if os.environ.get(variable)}
    found = Settings(**dict(_read(given)) | secrets)
    hide_secrets(msgspec.structs.asdict(found))
    return found


def hide_secrets(values: Mapping[str, object]) -> None:
    """Hide passwords in URLs, and values of settings with a secret name, in all logs and errors."""
    for name, value in values.items():
        if isinstance(value, str):
            redaction.hide_secrets_of(value)
            if SECRET_SETTING.search(name):
                redaction.hide(value)


def _read_variables() -> dict[str, str | None]:
    """The variables from the environment and the .env file; the environment takes precedence, empty values are ignored.

    Raises:
        UsageError: a name is unknown, or the file cannot be read.
    """
    file = _read_file(Path.cwd() / ".env")
    known = [f"AUDITOR_{name.upper()}" for name in Settings.__struct_fields__]
    _check_names(os.environ, [*known, *(f"AUDITOR_{name.upper()}_FILE" for name in SECRET)], "")
    _check_names(file, known, f" (in {Path.cwd() / '.env'})")
    return {**file, **{name: value for name, value in os.environ.items() if value}}


def _read_file(path: Path) -> dict[str, str | None]:
    """The variables in a .env file; none without a file.

    Raises:
        UsageError: the file cannot be read, or a line about auditor is no ``NAME=value``; no part of it is shown.
    """
    try:
        text = path.read_text(encoding="utf-8-sig") if path.is_file() else ""
    except UnicodeDecodeError as error:
        raise UsageError(f"cannot read the file .env in {path.parent}: expected UTF-8: save it as UTF-8") from error
    except OSError as error:
        raise UsageError(f"cannot read the file .env in {path.parent}: {error.strerror}") from error
    for one in parse_stream(io.StringIO(text)):
        if (one.error or (one.key and one.value is None)) and "AUDITOR" in one.original.string.upper():
            line = one.original.line + len(one.original.string) - len(one.original.string.lstrip("\n"))
            raise UsageError(f"{path}:{line}: expected NAME=value, and quotes that end on the line")
    logging.getLogger("dotenv.main").setLevel(logging.ERROR)  # lines of other programs
    return dict(dotenv_values(stream=io.StringIO(text)))


def _check_names(given: Mapping[str, str | None], known: Sequence[str], where: str) -> None:
    """Raises UsageError for a name that is probably a misspelt setting."""
    for name, value in given.items():
        if name in known or name in OF_COMPOSE or _is_service_variable(name, value or ""):
            continue
        similar = difflib.get_close_matches(name.upper(), known, 1, 0.6 if name.upper().startswith("AUDITOR_") else 0.9)
        if where and name in [f"AUDITOR_{secret.upper()}_FILE" for secret in SECRET]:
            raise UsageError(f"{name} is only read from the environment, not from a file{where}")
        if name.upper().startswith("AUDITOR_") or (similar and where):  # the environment has variables of many programs
            hint = f"did you mean {similar[0]}?" if similar else f"expected one of: {', '.join(known)}"
            raise UsageError(f"{name} is not a setting of auditor{where}; {hint}")


def _is_service_variable(name: str, value: str) -> bool:
    """Whether Kubernetes or Docker set the variable for a service or container whose name begins with ``auditor``."""
    if name.endswith("_PORT") and re.match(r"(tcp|udp|sctp)://", value):
        return True
    return bool(OF_SERVICE.search(name)) or (name.endswith("_NAME") and bool(re.fullmatch(r"/[\w.-]+/[\w.-]+", value)))


def _read(given: Mapping[str, str | None]) -> Iterator[tuple[str, Any]]:
    """The settings that are given, by name."""
    for name, kind in typing.get_type_hints(Settings, include_extras=True).items():
        variable = f"AUDITOR_{name.upper()}"
        if value := given.get(variable):
            try:
                yield name, msgspec.convert(value, kind, strict=False, dec_hook=_convert(variable))
            except msgspec.ValidationError as error:
                choices = " or ".join(typing.get_args(kind)) if typing.get_origin(kind) is Literal else None
                raise UsageError(f"{variable}: expected {choices or _expected(error)}, got {value!r}") from error


def _expected(error: msgspec.ValidationError) -> str:
    """What a value should have been, in words: msgspec names Python's types."""
    text = str(error).partition(", got")[0].replace("`", "").removeprefix("Expected ").removesuffix(" | null")
    kind, space, limit = text.partition(" ")
    return f"{KINDS.get(kind, kind)}{space}{limit.removesuffix('.0')}"


def _convert(variable: str) -> Callable[[type, str], Path]:
    return lambda _, text: _path(variable, text)


def _path(variable: str, text: str) -> Path:
    """A path with ~ replaced by the home folder."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UsageError(
            f"{variable}: the home folder of {text.partition('/')[0]} is unknown: use an absolute path"
        ) from error


def _read_secret(variable: str) -> str:
    """Read the secret in the file that a variable names; errors name the file and never its contents."""
    plain, path = variable.removesuffix("_FILE"), os.environ[variable]
    if os.environ.get(plain):
        raise UsageError(f"{plain} and {variable} are both set: unset one of them")
    try:
        secret = _path(variable, path).read_text(encoding="utf-8-sig").strip()
    except OSError as error:
        raise UsageError(f"{variable}: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{variable}: expected text in UTF-8 in {path}") from error
    if not secret or len(secret.splitlines()) != 1:
        raise UsageError(f"{variable}: expected one line in {path}, got {len(secret.splitlines())}")
    return secret
