"""Settings: AUDITOR_* variables and a .env file, read once."""

import difflib
import functools
import os
import re
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from dotenv import dotenv_values
from msgspec import Meta
from platformdirs import user_data_path

from auditor.errors import UsageError
from auditor.text import redaction


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What may differ from machine to machine; docs/settings.md lists the same.

    Attributes:
        database_url: where results are kept: an SQLAlchemy URL.
        broker_url: the workers' queue, redis:// or amqp://; `auditor doctor` tries it.
        demo_weights: folder of a demo zoo built elsewhere, instead of the shipped one.
        robustbench_models: folder of RobustBench's models, as its own loader lays it out.
        checkpoints: folder of fine-tuned checkpoints; workers on several machines share it.
        data: folder in torchvision's layout where data sets are looked for, and to which they are downloaded.
        lease_seconds: an audit whose process gives no sign of life for so long is put back.
        database_patience: seconds for which workers wait for a database that is away, or full.
        webhook_url: told by `auditor beat` of scans that ended with failures or regressions.
        webhook_private: whether the webhook may have a private address.
        log_format: what workers, the reaper and scans log to stderr: lines for people, or JSON.
        batch_size: images attacked at once.
        threads: CPU threads of each model; all cores by default, or a share of them.
        debug: whether errors come with their tracebacks, as with `auditor --debug`.
    """

    database_url: str = msgspec.field(default_factory=lambda: f"sqlite:///{user_data_path('auditor') / 'auditor.db'}")
    broker_url: str | None = None
    demo_weights: Path | None = None
    robustbench_models: Path = Path("models")
    checkpoints: Path = msgspec.field(default_factory=lambda: user_data_path("auditor") / "checkpoints")
    data: Path = msgspec.field(default_factory=lambda: Path.home() / ".cache" / "auditor")
    lease_seconds: Annotated[float, Meta(ge=3, le=86_400)] = 60
    database_patience: Annotated[float, Meta(ge=0, le=31_536_000)] = 600
    webhook_url: str | None = None
    webhook_private: bool = False
    log_format: Literal["text", "json"] = "text"
    batch_size: Annotated[int, Meta(ge=1, le=1_000_000)] = 256
    threads: Annotated[int, Meta(ge=1, le=1024)] | None = None
    debug: bool = False

    def __repr__(self) -> str:
        """Without values: some are passwords."""
        return "Settings()"


OF_SERVICE = re.compile(
    r"_SERVICE_HOST$|_SERVICE_PORT(_\w+)?$|_PORT_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?(_START|_END)?$|_ENV_"
)
"""What names end with that Kubernetes and Docker make of a service's, whatever that is called."""
OF_COMPOSE = ("AUDITOR_IMAGE", "AUDITOR_CUDA_IMAGE", "AUDITOR_SECRETS")
"""Variables of compose.yaml, which may stand in the same file."""
SECRET_SETTING = re.compile("webhook|secret|token|password")
SECRET = ("database_url", "broker_url", "webhook_url")
"""Settings that may hold a password: ``AUDITOR_…_FILE`` names a file that holds one, for processes with secrets."""


@functools.cache
def settings() -> Settings:
    """The settings of this process.

    Raises:
        UsageError: a variable holds what it cannot, or is none of ours: a misspelt one must not go unnoticed.
    """
    given = _given()
    files = {f"AUDITOR_{name.upper()}_FILE": name for name in SECRET}
    secrets = {field: _read_secret(variable) for variable, field in files.items() if os.environ.get(variable)}
    found = Settings(**dict(_read(given)) | secrets)
    hide_secrets(msgspec.structs.asdict(found))
    return found


def hide_secrets(asked: Mapping[str, object]) -> None:
    """Show no password in URLs, nor all of a setting whose name says that it is one, in any log or error."""
    for name, value in asked.items():
        if isinstance(value, str):
            redaction.hide_secrets_of(value)
            if SECRET_SETTING.search(name):
                redaction.hide(value)


def _given() -> dict[str, str | None]:
    """The variables that are set; the environment counts before the file, and what is empty not at all.

    Raises:
        UsageError: one of them is none of ours, or the file cannot be read.
    """
    try:
        file = dotenv_values(".env", encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the file .env in {Path.cwd()}: {error}") from error
    known = [f"AUDITOR_{name.upper()}" for name in Settings.__struct_fields__]
    _check_names(os.environ, [*known, *(f"AUDITOR_{name.upper()}_FILE" for name in SECRET)], "")
    _check_names(file, known, f" (in {Path.cwd() / '.env'})")
    return {**file, **{name: value for name, value in os.environ.items() if value}}


def _check_names(given: Mapping[str, str | None], known: Sequence[str], where: str) -> None:
    """Raises UsageError for a name that is likely a setting, misspelt."""
    for name, value in given.items():
        if name in known or name in OF_COMPOSE or _is_of_a_service(name, value or ""):
            continue
        near = difflib.get_close_matches(name.upper(), known, 1, 0.6 if name.upper().startswith("AUDITOR_") else 0.9)
        if where and name in [f"AUDITOR_{secret.upper()}_FILE" for secret in SECRET]:
            raise UsageError(f"{name} is read from the environment alone, not from a file{where}")
        if name.upper().startswith("AUDITOR_") or (near and where):  # the environment has names of many programs
            hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(known)}"
            raise UsageError(f"{name} is no setting of auditor{where}; {hint}")


def _is_of_a_service(name: str, value: str) -> bool:
    """Whether Kubernetes or Docker set it, for a service or linked container whose name begins with ``auditor``."""
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
                expected = choices or str(error).partition(", got")[0].replace("`", "").removeprefix("Expected ")
                raise UsageError(f"{variable}: expected {expected.removesuffix(' | null')}, got {value!r}") from error


def _convert(variable: str) -> Callable[[type, str], Path]:
    return lambda _, text: _path(variable, text)


def _path(variable: str, text: str) -> Path:
    """A path in which ~ is the home folder, also where no shell has seen it."""
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise UsageError(f"{variable}: whose home folder is {text.partition('/')[0]}? Write it out") from error


def _read_secret(variable: str) -> str:
    """What stands in the file that a variable names; errors say the file's name and never what is in it."""
    plain, path = variable.removesuffix("_FILE"), os.environ[variable]
    if os.environ.get(plain):
        raise UsageError(f"{plain} and {variable} are both set: unset one of them")
    try:
        secret = _path(variable, path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UsageError(f"{variable}: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{variable}: {path} is no text in UTF-8") from error
    if not secret or len(secret.splitlines()) != 1:
        raise UsageError(f"{variable}: expected one line in {path}, got {len(secret.splitlines())}")
    return secret
