"""A tree of classes, written as an indented outline: one node a line, its id and its name, a space a level."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Outline:
    """A tree whose leaves are the classes.

    Attributes:
        leaves: names of the leaves by their ids, in the order of the ids.
        chains: the ids from the root to each leaf, itself included, in the same order.
    """

    leaves: dict[str, str]
    chains: tuple[tuple[str, ...], ...]

    def labels(self, groups: Mapping[str, Iterable[str]]) -> tuple[str, ...]:
        """The group of each leaf: the one that names the leaf's nearest ancestor.

        Raises:
            KeyError: a leaf is below no node of any group.
        """
        group_of = {node: group for group, nodes in groups.items() for node in nodes}
        nearest = [next((node for node in reversed(chain) if node in group_of), chain[-1]) for chain in self.chains]
        return tuple(group_of[node] for node in nearest)

    def depths(self) -> list[tuple[str, ...]]:
        """Each depth as a level, from the deepest: a leaf's label is its ancestor there, or itself where it ends above.

        Depths that join no two leaves, or all leaves, carry no information and are left out. The deeper the last common
        ancestor of two leaves, the fewer the levels at which their labels differ.
        """
        levels = []
        for depth in reversed(range(max(len(chain) for chain in self.chains))):
            labels = tuple(chain[min(depth, len(chain) - 1)] for chain in self.chains)
            if 1 < len(set(labels)) < len(labels):
                levels.append(labels)
        return levels


def read_outline(text: str) -> Outline:
    """Read an outline; a node with nothing below it is a leaf."""
    chains: dict[str, tuple[str, ...]] = {}
    names: dict[str, str] = {}
    inner: set[str] = set()
    above: list[str] = []
    for line in text.splitlines():
        entry = line.lstrip(" ")
        node, name = entry.split(" ", 1)
        above = above[: len(line) - len(entry)]
        inner.update(above[-1:])
        above.append(node)
        chains[node], names[node] = tuple(above), name
    leaves = sorted(chains.keys() - inner)
    return Outline({leaf: names[leaf] for leaf in leaves}, tuple(chains[leaf] for leaf in leaves))
