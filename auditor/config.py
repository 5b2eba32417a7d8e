"""Settings: AUDITOR_* variables and a .env file, read once."""

import difflib
import functools
import os
from pathlib import Path
from typing import Literal

from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from auditor.errors import UsageError


class Settings(BaseSettings):
    """What may differ from machine to machine; docs/settings.md lists the same."""

    model_config = SettingsConfigDict(env_prefix="AUDITOR_", env_file=".env", env_ignore_empty=True, extra="ignore")

    database_url: str = Field(
        default_factory=lambda: f"sqlite:///{user_data_path('auditor') / 'auditor.db'}",
        description="where results are kept: an SQLAlchemy URL",
    )
    broker_url: str | None = Field(
        default=None, description="the workers' queue, redis:// or amqp://; `auditor doctor` tries it"
    )
    demo_weights: Path | None = Field(
        default=None, description="folder of a demo zoo built elsewhere, instead of the shipped one"
    )
    robustbench_models: Path = Field(
        default=Path("models"), description="folder of RobustBench's models, as its own loader lays it out"
    )
    checkpoints: Path = Field(
        default_factory=lambda: user_data_path("auditor") / "checkpoints",
        description="folder of fine-tuned checkpoints; workers on several machines share it",
    )
    data: Path = Field(
        default_factory=lambda: Path.home() / ".cache" / "auditor",
        description="folder in torchvision's layout where data sets are looked for, and to which they are downloaded",
    )
    lease_seconds: float = Field(
        default=60, ge=3, description="an audit whose process gives no sign of life for so long is put back"
    )
    database_patience: float = Field(
        default=600, ge=0, description="seconds for which workers wait for a database that is away, or full"
    )
    webhook_url: SecretStr | None = Field(
        default=None, description="told by `auditor beat` of scans that ended with failures or regressions"
    )
    webhook_private: bool = Field(default=False, description="whether the webhook may have a private address")
    log_format: Literal["text", "json"] = Field(
        default="text", description="what workers, the reaper and scans log to stderr: lines for people, or JSON"
    )
    batch_size: int = Field(default=256, ge=1, description="images attacked at once")
    threads: int | None = Field(default=None, ge=1, le=1024, description="CPU threads; all cores by default")


SECRET = ("database_url", "broker_url", "webhook_url")
"""Settings that may hold a password: ``AUDITOR_…_FILE`` names a file that holds one, for processes with secrets."""


@functools.cache
def settings() -> Settings:
    """The settings of this process.

    Raises:
        UsageError: a variable holds what it cannot, or is none of ours: a misspelt one must not go unnoticed.
    """
    files = {f"AUDITOR_{name.upper()}_FILE": name for name in SECRET}
    known = [*(f"AUDITOR_{name.upper()}" for name in Settings.model_fields), *files]
    for name in os.environ:
        if name.startswith("AUDITOR_") and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(known)}"
            raise UsageError(f"{name} is no setting of auditor; {hint}")
    secrets = {field: _read_secret(variable) for variable, field in files.items() if os.environ.get(variable)}
    try:
        return Settings(**secrets)  # type: ignore[arg-type]  # each is a text
    except ValidationError as error:
        first = error.errors()[0]
        name = "AUDITOR_" + "_".join(str(part) for part in first["loc"]).upper()
        raise UsageError(f"{name}: {first['msg'].lower()}, got {first['input']!r}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the file .env in {Path.cwd()}: {error}") from error


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
