"""Assignments of classes for domain adaptation: superclasses, each with source and target subclasses."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from auditor.errors import NotFoundError, UsageError


@dataclass(frozen=True, kw_only=True)
class Superclass:
    """One superclass, by the names of its subclasses in the data set."""

    name: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """The superclasses that a model is adapted to, in the order of its logits."""

    dataset: str
    superclasses: tuple[Superclass, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(group.name for group in self.superclasses)

    @property
    def sources(self) -> tuple[str, ...]:
        """All source subclasses, superclass by superclass: the order of the source model's logits."""
        return tuple(name for group in self.superclasses for name in group.sources)

    @property
    def targets(self) -> tuple[str, ...]:
        return tuple(name for group in self.superclasses for name in group.targets)

    @property
    def source_superclasses(self) -> tuple[str, ...]:
        """The superclass of each source subclass."""
        return tuple(group.name for group in self.superclasses for _ in group.sources)

    def resolved(self, classes: Sequence[str]) -> "Assignment":
        """A copy with the spelling of the data set's ``classes``; case is ignored, and _ equals a blank.

        Raises:
            UsageError: a class is unknown, or named twice; a superclass is named twice, or has no source or no target;
                there are fewer than two superclasses.
        """
        found = Assignment(
            dataset=self.dataset,
            superclasses=tuple(
                Superclass(
                    name=group.name,
                    sources=tuple(_find(name, classes, self.dataset) for name in group.sources),
                    targets=tuple(_find(name, classes, self.dataset) for name in group.targets),
                )
                for group in self.superclasses
            ),
        )
        found._check()
        return found

    def _check(self) -> None:
        if len(self.superclasses) < 2:
            raise UsageError(f"expected at least two superclasses, got {len(self.superclasses)}")
        if len(set(self.names)) < len(self.names):
            raise UsageError(f"expected superclasses with different names, got {', '.join(self.names)}")
        for group in self.superclasses:
            for kind, members in (("source", group.sources), ("target", group.targets)):
                if not members:
                    raise UsageError(f"expected at least one {kind} class of the superclass {group.name!r}, got none")
        for name in self.sources + self.targets:
            if name in self.sources and name in self.targets:
                raise UsageError(f"{name} is both a source and a target class: target classes must be new to the model")
            if (self.sources + self.targets).count(name) > 1:
                raise UsageError(f"{name} is named twice: a class belongs to one superclass")

    @classmethod
    def parse(cls, dataset: str, superclasses: str, sources: str, targets: str) -> "Assignment":
        """Parse text with bars between superclasses and commas between classes.

        ``"tops | footwear"``, ``"T-shirt/top, pullover, coat | sandal, sneaker"``, ``"shirt, dress | ankle boot"``.

        Raises:
            UsageError: the numbers of groups and superclasses differ.
        """
        names = [name.strip() for name in superclasses.split("|")]
        learned, new = _groups(sources), _groups(targets)
        for kind, groups in (("source", learned), ("target", new)):
            if len(groups) != len(names):
                raise UsageError(
                    f"expected {kind} classes of {len(names)} superclasses, separated by |, got {len(groups)}"
                )
        return cls(
            dataset=dataset,
            superclasses=tuple(
                Superclass(name=name, sources=source, targets=target)
                for name, source, target in zip(names, learned, new, strict=True)
            ),
        )


def _groups(text: str) -> list[tuple[str, ...]]:
    return [tuple(name.strip() for name in part.split(",") if name.strip()) for part in text.split("|")]


def _find(name: str, classes: Sequence[str], dataset: str) -> str:
    plain = {_plain(known): known for known in classes}
    if _plain(name) in plain:
        return plain[_plain(name)]
    similar = [plain[key] for key in difflib.get_close_matches(_plain(name), list(plain), 3, 0.4)]
    hint = f"did you mean {', '.join(similar)}?" if similar else f"expected one of: {', '.join(classes[:20])}"
    raise NotFoundError(f"no class named {name!r} in {dataset}; {hint}")


def _plain(name: str) -> str:
    return name.casefold().replace("_", " ").strip()


TOPS = ("T-shirt/top", "pullover", "dress", "coat", "shirt")
FOOTWEAR = ("sandal", "sneaker", "ankle boot")

FASHION_MNIST = Assignment(
    dataset="fashion_mnist",
    superclasses=(
        Superclass(name="tops", sources=("T-shirt/top", "pullover", "coat"), targets=("shirt", "dress")),
        Superclass(name="footwear", sources=("sandal", "sneaker"), targets=("ankle boot",)),
    ),
)


def leave_one_out(top: str, shoe: str) -> Assignment:
    """Fashion-MNIST's tops against footwear with one class of each as the target."""
    return Assignment(
        dataset="fashion_mnist",
        superclasses=(
            Superclass(name="tops", sources=tuple(name for name in TOPS if name != top), targets=(top,)),
            Superclass(name="footwear", sources=tuple(name for name in FOOTWEAR if name != shoe), targets=(shoe,)),
        ),
    )


CIFAR100 = Assignment(
    dataset="cifar100",
    superclasses=(
        Superclass(name="fish", sources=("aquarium_fish", "flatfish", "ray", "shark"), targets=("trout",)),
        Superclass(name="flowers", sources=("orchid", "poppy", "rose", "sunflower"), targets=("tulip",)),
        Superclass(
            name="household electrical devices",
            sources=("clock", "keyboard", "lamp", "telephone"),
            targets=("television",),
        ),
        Superclass(name="people", sources=("baby", "boy", "girl", "man"), targets=("woman",)),
    ),
)
"""The paper's assignment: superclasses 1, 2, 5 and 14, as in its published code, with the last class as the target."""

PRESETS: dict[str, Assignment] = {
    "fashion-mnist": FASHION_MNIST,
    **{f"fashion-mnist/{top}+{shoe}": leave_one_out(top, shoe) for top, shoe in product(TOPS, FOOTWEAR)},
    "cifar100": CIFAR100,
}


def find_preset(name: str) -> Assignment:
    """Raises NotFoundError if the preset does not exist; the message suggests similar names."""
    if name not in PRESETS:
        near = difflib.get_close_matches(name, list(PRESETS), 3, 0.4) or ["fashion-mnist", "cifar100"]
        raise NotFoundError(f"no assignment named {name!r}; did you mean {', '.join(near)}?")
    return PRESETS[name]
