"""What RobustBench lists, as a file that is read without importing it: ``build`` makes it."""

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
        gdrive: Google Drive's ids of its files; one file has no number in its name, an ensemble's have.
        url: the one file's address where it is not there.
        preprocessing: RobustBench's name for it, or ``timm``'s own, or None.
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
    """RobustBench's version and its rows, in its own order."""
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
