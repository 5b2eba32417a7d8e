"""Which classes a model learns on and which it is adapted to: superclasses, each with source and target subclasses."""

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
    """The superclasses that are told apart, in the order of the adapted model's logits."""

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
        """The same with each class spelled as the data set's ``classes`` spell it: case, _ and blanks do not count.

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
            raise UsageError(f"expected at least two superclasses to tell apart, got {len(self.superclasses)}")
        if len(set(self.names)) < len(self.names):
            raise UsageError(f"expected superclasses of different names, got {', '.join(self.names)}")
        for group in self.superclasses:
            for kind, members in (("source", group.sources), ("target", group.targets)):
                if not members:
                    raise UsageError(f"expected at least one {kind} class of the superclass {group.name!r}, got none")
        for name in self.sources + self.targets:
            both = name in self.sources and name in self.targets
            if both:
                raise UsageError(f"{name} is both a source and a target class: what a model is adapted to must be new")
            if (self.sources + self.targets).count(name) > 1:
                raise UsageError(f"{name} is named twice: a class belongs to one superclass")

    @classmethod
    def parse(cls, dataset: str, superclasses: str, sources: str, targets: str) -> "Assignment":
        """From text: superclasses between bars, classes between commas.

        ``"tops | footwear"``, ``"T-shirt/top, pullover, coat | sandal, sneaker"``, ``"shirt, dress | ankle boot"``.

        Raises:
            UsageError: there are not as many groups of classes as superclasses.
        """
        names = [name.strip() for name in superclasses.split("|")]
        learned, new = _groups(sources), _groups(targets)
        for kind, groups in (("source", learned), ("target", new)):
            if len(groups) != len(names):
                raise UsageError(
                    f"expected {kind} classes of {len(names)} superclasses, with | between them, got {len(groups)}"
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
    near = [plain[key] for key in difflib.get_close_matches(_plain(name), list(plain), 3, 0.4)]
    hint = f"did you mean {', '.join(near)}?" if near else f"there is: {', '.join(classes[:20])}"
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
"""The paper's: the superclasses 1, 2, 5 and 14 that its published code keeps, the last class of each the target."""

PRESETS: dict[str, Assignment] = {
    "fashion-mnist": FASHION_MNIST,
    **{f"fashion-mnist/{top}+{shoe}": leave_one_out(top, shoe) for top, shoe in product(TOPS, FOOTWEAR)},
    "cifar100": CIFAR100,
}


def find_preset(name: str) -> Assignment:
    """Raises NotFoundError where there is no preset of this name; near ones are named."""
    if name not in PRESETS:
        near = difflib.get_close_matches(name, list(PRESETS), 3, 0.4) or ["fashion-mnist", "cifar100"]
        raise NotFoundError(f"no assignment named {name!r}; did you mean {', '.join(near)}?")
    return PRESETS[name]
