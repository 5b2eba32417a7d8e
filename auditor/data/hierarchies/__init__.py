"""Class hierarchies: one TOML file a data set, the finest level first."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from auditor.errors import DataError


@dataclass(frozen=True)
class Hierarchy:
    """Superclass labels of K classes at one or more levels, the finest first; ``levels[i][k]`` is class k's."""

    name: str
    source: str
    classes: tuple[str, ...]
    levels: tuple[tuple[str, ...], ...]
    headline: int = 0

    @property
    def superclasses(self) -> tuple[str, ...]:
        """The level that the scores are about: K labels, one a class."""
        return self.levels[self.headline]


def load_hierarchy(name: str, classes: Sequence[str]) -> Hierarchy:
    """The shipped hierarchy ``name`` for ``classes``, in the order that the model's logits have.

    Raises:
        DataError: there is no such hierarchy, or a level does not cover each class exactly once.
    """
    path = Path(__file__).parent / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.toml")))
        raise DataError(f"no class hierarchy named {name!r}; there is: {known}")
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    levels = tuple(_labels(level["groups"], classes, path.name) for level in content["levels"])
    return Hierarchy(content["name"], content["source"], tuple(classes), levels, content.get("headline", 0))


def _labels(groups: dict[str, list[str]], classes: Sequence[str], file: str) -> tuple[str, ...]:
    members = [member for group in groups.values() for member in group]
    if sorted(members) != sorted(classes):
        odd = sorted(set(members) ^ set(classes)) or "a class named twice"
        raise DataError(f"{file}: expected each of {len(classes)} classes in one group, trouble with: {odd}")
    return tuple(next(name for name, group in groups.items() if label in group) for label in classes)
