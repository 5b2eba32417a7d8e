"""The catalogue of RobustBench's models, read without importing robustbench; ``build`` writes it."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor.records import Transform

FILE = Path(__file__).parent / "catalogue.json"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One entry of RobustBench's model zoo.

    Attributes:
        gdrive: the ids of its files on Google Drive; only the files of an ensemble have numbers in their names.
        url: the address of its only file, if that is not on Google Drive.
        preprocessing: RobustBench's name of the preprocessing, ``timm``, or None.
    """

    dataset: str
    threat_model: str
    name: str
    preprocessing: str | None
    transform: Transform | None
    gdrive: tuple[str, ...] = ()
    ensemble: bool = False
    url: str | None = None

    @property
    def id(self) -> str:
        return f"{self.dataset}/{self.threat_model}/{self.name}"


@functools.cache
def read() -> tuple[str, list[Row]]:
    """RobustBench's version and its models in its order."""
    content = json.loads(FILE.read_text(encoding="utf-8"))
    return content["robustbench"], [_row(row) for row in content["models"]]


def _row(row: dict[str, Any]) -> Row:
    return Row(
        **row
        | {"gdrive": tuple(row["gdrive"]), "transform": _transform(row["transform"]) if row["transform"] else None}
    )


def _transform(values: dict[str, Any]) -> Transform:
    sizes: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
    return Transform(**sizes)
