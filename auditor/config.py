"""Settings: AUDITOR_* variables and a .env file, read once."""

import difflib
import functools
import os
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from dotenv import dotenv_values
from msgspec import Meta
from platformdirs import user_data_path

from auditor.errors import UsageError


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
    """

    database_url: str = msgspec.field(default_factory=lambda: f"sqlite:///{user_data_path('auditor') / 'auditor.db'}")
    broker_url: str | None = None
    demo_weights: Path | None = None
    robustbench_models: Path = Path("models")
    checkpoints: Path = msgspec.field(default_factory=lambda: user_data_path("auditor") / "checkpoints")
    data: Path = msgspec.field(default_factory=lambda: Path.home() / ".cache" / "auditor")
    lease_seconds: Annotated[float, Meta(ge=3)] = 60
    database_patience: Annotated[float, Meta(ge=0)] = 600
    webhook_url: str | None = None
    webhook_private: bool = False
    log_format: Literal["text", "json"] = "text"
    batch_size: Annotated[int, Meta(ge=1)] = 256
    threads: Annotated[int, Meta(ge=1, le=1024)] | None = None

    def __repr__(self) -> str:
        """Without values: some are passwords."""
        return "Settings()"


SECRET = ("database_url", "broker_url", "webhook_url")
"""Settings that may hold a password: ``AUDITOR_…_FILE`` names a file that holds one, for processes with secrets."""


@functools.cache
def settings() -> Settings:
    """The settings of this process.

    Raises:
        UsageError: a variable holds what it cannot, or is none of ours: a misspelt one must not go unnoticed.
    """
    files = {f"AUDITOR_{name.upper()}_FILE": name for name in SECRET}
    known = [*(f"AUDITOR_{name.upper()}" for name in Settings.__struct_fields__), *files]
    for name in os.environ:
        if name.startswith("AUDITOR_") and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(known)}"
            raise UsageError(f"{name} is no setting of auditor; {hint}")
    secrets = {field: _read_secret(variable) for variable, field in files.items() if os.environ.get(variable)}
    return Settings(**dict(_read()) | secrets)


def _read() -> Iterator[tuple[str, Any]]:
    """The settings that are given, by name; the environment counts before the file, and what is empty not at all."""
    try:
        given = {**dotenv_values(".env"), **{name: value for name, value in os.environ.items() if value}}
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the file .env in {Path.cwd()}: {error}") from error
    for name, kind in typing.get_type_hints(Settings, include_extras=True).items():
        variable = f"AUDITOR_{name.upper()}"
        if value := given.get(variable):
            try:
                yield name, msgspec.convert(value, kind, strict=False, dec_hook=lambda kind, text: kind(text))
            except msgspec.ValidationError as error:
                choices = " or ".join(typing.get_args(kind)) if typing.get_origin(kind) is Literal else None
                expected = choices or str(error).partition(", got")[0].replace("`", "").removeprefix("Expected ")
                raise UsageError(f"{variable}: expected {expected.removesuffix(' | null')}, got {value!r}") from error


def _read_secret(variable: str) -> str:
    """What stands in the file that a variable names; errors say the file's name and never what is in it."""
    plain, path = variable.removesuffix("_FILE"), os.environ[variable]
    if os.environ.get(plain):
        raise UsageError(f"{plain} and {variable} are both set: unset one of them")
    try:
        secret = Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UsageError(f"{variable}: cannot read {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{variable}: {path} is no text in UTF-8") from error
    if not secret or len(secret.splitlines()) != 1:
        raise UsageError(f"{variable}: expected one line in {path}, got {len(secret.splitlines())}")
    return secret
