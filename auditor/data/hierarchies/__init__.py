"""Class hierarchies: one TOML file for each data set, with the finest level first.

A file's ``[[levels]]`` name the groups at each level and their classes, and ``headline`` says which of them the scores
are about. A file may also have a ``tree``, an indented outline of ids and names whose leaves are the classes:
then the groups name nodes of it, and the depths of the tree are levels, too.
"""

import functools
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auditor.data.hierarchies.outline import Outline, read_outline
from auditor.errors import DataError

Labels = tuple[str, ...]


@dataclass(frozen=True)
class Hierarchy:
    """Superclass labels of K classes at one or more levels, the finest first; ``levels[i][k]`` is class k's."""

    name: str
    source: str
    classes: tuple[str, ...]
    levels: tuple[Labels, ...]
    headline: int = 0

    @property
    def superclasses(self) -> Labels:
        """The level that the scores are about: K labels, one a class."""
        return self.levels[self.headline]


def load_hierarchy(name: str, classes: Sequence[str]) -> Hierarchy:
    """The shipped hierarchy ``name`` for ``classes``, in the order that the model's logits have.

    Raises:
        DataError: the hierarchy does not exist, or a level does not cover each class exactly once.
    """
    path = Path(__file__).parent / f"{name}.toml"
    if not path.is_file():
        known = ", ".join(sorted(file.stem for file in path.parent.glob("*.toml")))
        raise DataError(f"no class hierarchy named {name!r}; expected one of: {known}")
    return _load(path, tuple(classes))


@functools.cache
def outline_of(name: str) -> Outline:
    """The tree of the shipped hierarchy ``name``, which must have one."""
    return read_outline(_content(Path(__file__).parent / f"{name}.toml")["tree"])


@functools.cache
def _content(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))


@functools.cache
def _load(path: Path, classes: tuple[str, ...]) -> Hierarchy:
    content = _content(path)
    headline = content.get("headline", 0)
    groups = [level["groups"] for level in content["levels"]]
    if "tree" not in content:
        flat = tuple(_labels(members, classes, path.name) for members in groups)
        return Hierarchy(content["name"], content["source"], classes, flat, headline)
    tree = outline_of(path.stem)
    names = list(tree.leaves.values())
    _check_cover(names, classes, path.name)
    found = [tree.labels(members) for members in groups]
    levels = sorted([*tree.depths(), *found], key=lambda labels: -len(set(labels)))
    place = {name: number for number, name in enumerate(names)}
    ordered = tuple(tuple(labels[place[label]] for label in classes) for labels in levels)
    return Hierarchy(content["name"], content["source"], classes, ordered, levels.index(found[headline]))


def _labels(groups: dict[str, list[str]], classes: Sequence[str], file: str) -> Labels:
    _check_cover([member for group in groups.values() for member in group], classes, file)
    group_of = {member: name for name, group in groups.items() for member in group}
    return tuple(group_of[label] for label in classes)


def _check_cover(members: Sequence[str], classes: Sequence[str], file: str) -> None:
    if sorted(members) != sorted(classes):
        faults = sorted(set(members) ^ set(classes)) or "a class named twice"
        raise DataError(f"{file}: expected each of {len(classes)} classes in one group, got a mismatch in: {faults}")
