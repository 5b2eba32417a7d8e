"""Read a zoo.toml into entries, or report all of its mistakes at once."""

import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from auditor.errors import UsageError, first_line, one_line
from auditor.files import read_limited
from auditor.records import ZooEntry
from auditor.text.validation import describe_error
from auditor.zoo.local.datasets import Dataset, DatasetTable, check_name, make_dataset, suggest
from auditor.zoo.local.entries import EntryError, entry_of
from auditor.zoo.local.file_limits import MOST_BYTES, check_depth, check_dots
from auditor.zoo.local.lines import Key, line_of, lines_of
from auditor.zoo.local.tables import Model, ZooContext
from auditor.zoo.local.text import decode, explain

FILE = "zoo.toml"
MOST_PROBLEMS = 100
MOST_NUMBERED = 500_000
Table = TypeVar("Table", bound=BaseModel)


@dataclass(frozen=True)
class LocalModel:
    """An entry, the name of its weight file, the ``key`` and ``prefix`` of the state dict in it, and notes."""

    entry: ZooEntry
    weights: str
    key: str | None
    prefix: str | None
    notes: tuple[str, ...]


def read_zoo(folder: Path, only: str | None = None) -> list[LocalModel]:
    """Read the models of a folder's zoo.toml in their order; runs no code of the folder.

    Args:
        only: the full name of a model; if its table has no mistakes, mistakes in other tables are ignored.

    Raises:
        UsageError: the file does not exist, or it has mistakes: one line for each, with the line number.
    """
    try:
        content = read_limited(folder / FILE, MOST_BYTES)
    except FileNotFoundError:
        raise UsageError(
            f"there is no {FILE} in {folder}: `auditor zoo init {shlex.quote(str(folder))}` writes an example"
        ) from None
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {folder / FILE}: {first_line(error)}") from error
    try:
        text = decode(content)
    except ValueError as error:
        raise UsageError(f"{FILE}:{error}") from error
    try:
        check_dots(text)
        document = tomllib.loads(text)
        check_depth(document)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{FILE}:{explain(text, error)}") from error
    except RecursionError as error:
        raise UsageError(f"{FILE} is not TOML: tables or lists are nested too deep") from error
    except ValueError as error:  # an integer of thousands of digits
        raise UsageError(f"{FILE} is not TOML: {first_line(error)}") from error
    reader = _Reader(folder)
    models = reader.read(document)
    if only is not None and any(model.entry.model == only for model in models):
        return models
    if reader.problems:
        raise UsageError("\n".join(_listed(reader.problems, text)))
    return models


def find_model_lines(folder: Path) -> dict[str, int]:
    """The line of each model's name in a folder's zoo.toml; empty if the file cannot be read."""
    try:
        text = decode(read_limited(folder / FILE, MOST_BYTES))
        tables = tomllib.loads(text)["models"]
        lines = lines_of(text)
        return {table["name"]: line_of(("models", number, "name"), lines) for number, table in enumerate(tables)}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}


def _listed(problems: "list[tuple[Key, str]]", text: str) -> Iterator[str]:
    """Problems in the order of their lines; without line numbers for very large files."""
    lines = lines_of(text) if len(text) <= MOST_NUMBERED else {}
    numbered = sorted((line_of(key, lines), number, key, message) for number, (key, message) in enumerate(problems))
    yield from (
        f"{FILE}:{line}: {one_line(_key_name(key) + message)}" for line, _, key, message in numbered[:MOST_PROBLEMS]
    )
    if len(numbered) > MOST_PROBLEMS:
        yield f"{FILE}: … and {len(numbered) - MOST_PROBLEMS} more mistakes"


@dataclass
class _Reader:
    """Reads one document and collects its problems."""

    folder: Path
    problems: list[tuple[Key, str]] = field(default_factory=list)

    def read(self, document: dict[str, Any]) -> list[LocalModel]:
        for key in document.keys() - {"models", "datasets"}:
            self._report((key,), f"unknown key; {suggest(key, ['models', 'datasets'])}")
        context = ZooContext(self.folder)
        datasets = document.get("datasets", {})
        if isinstance(datasets, dict):
            context.datasets.update(
                {name: self._dataset(table, ("datasets", name), name) for name, table in datasets.items()}
            )
        else:
            self._report(("datasets",), "expected tables: [datasets.NAME]")
        tables = document.get("models", [])
        if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
            single = "; [models] is one table, write [[models]]" if isinstance(tables, dict) and tables else ""
            self._report(("models",), f"expected at least one [[models]] table{single}")
            return []
        names: dict[Any, int] = {}
        for number, table in enumerate(tables):
            name = table.get("name")
            if isinstance(name, str) and names.setdefault(name, number) != number:
                self._report(
                    ("models", number, "name"),
                    f"expected a unique name, got {name!r}, the name of models[{names[name]}]",
                )
        models = [self._model(table, ("models", number), context) for number, table in enumerate(tables)]
        return [model for model in models if model]

    def _dataset(self, raw: Any, where: Key, name: str | None) -> Dataset | None:
        table = self._validated(DatasetTable, raw, where, None)
        if table is None:
            return None
        try:
            check_name(name or "")
        except ValueError as error:
            self._report(where, str(error))
        known = raw["classes"] if isinstance(raw["classes"], str) else None
        try:
            return make_dataset(table, name, known, self.folder)
        except ValueError as error:
            self._report((*where, "headline"), str(error))
            return None

    def _model(self, raw: dict[str, Any], where: Key, context: ZooContext) -> LocalModel | None:
        if isinstance(raw.get("dataset"), dict):
            raw = raw | {"dataset": self._dataset(raw["dataset"], (*where, "dataset"), None)}
        model = self._validated(Model, raw, where, context)
        if model is None or model.dataset is None or (model.architecture and model.architecture.is_ambiguous()):
            return None
        try:
            entry, notes = entry_of(model, model.dataset, self.folder)
        except EntryError as error:
            for key, message in error.problems:
                self._report((*where, *key), message)
            return None
        return LocalModel(entry, model.weights, model.key, model.prefix, notes)

    def _validated(self, kind: type[Table], raw: Any, where: Key, context: Any) -> Table | None:
        """The table; None if a field is wrong. With unknown keys the other fields are still checked."""
        try:
            table = kind.model_validate(raw, context=context)
        except ValidationError as error:
            for found in error.errors():
                self._report((*where, *found["loc"]), _message_of(kind, found))
            self._report_unknown_keys(kind, raw, where)
            return None
        self._report_unknown_keys(kind, raw, where)
        return table

    def _report_unknown_keys(self, kind: type[BaseModel], raw: Any, where: Key) -> None:
        if not isinstance(raw, dict):
            return
        for key, value in raw.items():
            if len(self.problems) > 10 * MOST_PROBLEMS:
                return
            if key not in kind.model_fields:
                self._report((*where, key), f"unknown key; {suggest(key, list(kind.model_fields))}")
                continue
            annotation = kind.model_fields[key].annotation
            for inner in (annotation, *get_args(annotation)):
                if isinstance(inner, type) and issubclass(inner, BaseModel):
                    self._report_unknown_keys(inner, value, (*where, key))

    def _report(self, where: Key, message: str) -> None:
        self.problems.append((where, message))


def _message_of(kind: type[BaseModel], found: Any) -> str:
    """The message for one of pydantic's errors."""
    if found["type"] == "missing":
        description = kind.model_fields[str(found["loc"][-1])].description
        return f"missing: {description}"
    return describe_error(found)


def _key_name(key: Key) -> str:
    """The path of a key, ``models[1].eps: ``; empty for the document."""
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key)
    return f"{name.removeprefix('.')}: " if name else ""
