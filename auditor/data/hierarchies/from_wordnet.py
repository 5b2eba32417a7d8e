"""Make the ImageNet hierarchy: ``python -m auditor.data.hierarchies.from_wordnet --out FILE``.

From WordNet 3.0 (Debian's package wordnet-base) and the list of ImageNet's 1,000 synsets that timm ships; the same
two give the same bytes. Each class hangs on the tree by its first chain of hypernyms: where a synset has several
hypernyms, the one that WordNet names first counts.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from auditor.data.installed import package_file
from auditor.errors import AuditorError, DataError

NOUNS = Path("/usr/share/wordnet/data.noun")
OUTPUT = Path(__file__).parent / "imagenet.toml"

GROUPS = {
    "mammals": {"n01861778": "mammal"},
    "birds": {"n01503061": "bird", "n02153203": "game bird"},
    "reptiles": {"n01661091": "reptile"},
    "amphibians": {"n01627424": "amphibian"},
    "fish": {"n02512053": "fish"},
    "invertebrates": {"n01905661": "invertebrate"},
    "people": {"n00007846": "person"},
    "plants and fungi": {"n00017222": "plant", "n12992868": "fungus", "n13086908": "plant part"},
    "landforms": {"n09287968": "geological formation"},
    "food": {"n00021265": "food", "n07555863": "food", "n07705711": "produce"},
    "structures": {
        "n04341686": "structure", "n04602044": "workplace", "n04105068": "roof", "n03961939": "platform",
    },
    "vehicles": {"n03100490": "conveyance"},
    "clothing": {
        "n03051540": "clothing", "n03380867": "footwear", "n03045698": "cloak", "n02862048": "body armor",
        "n02740764": "armor plate", "n03725035": "mask", "n03724870": "mask", "n02681518": "adornment",
    },
    "containers": {"n03094503": "container", "n04381994": "tableware"},
    "furnishings": {"n03405265": "furnishing", "n03528263": "home appliance"},
    "musical instruments": {"n03800933": "musical instrument"},
    "devices": {"n03183080": "device"},
    "implements": {"n03563967": "implement"},
    "equipment": {"n03294048": "equipment", "n03078287": "communication system"},
    "other things": {"n00001740": "entity"},
}  # fmt: skip
"""The broad groups, each the classes below some nodes of the tree; of several above a class the nearest counts."""

HEAD = """\
# Made by `python -m auditor.data.hierarchies.from_wordnet`: do not edit. WordNet 3.0 Copyright 2006 by Princeton
# University, all rights reserved; its licence is in the file WORDNET_LICENSE beside this one.
# One line a synset, below its first hypernym; the leaves are ImageNet's classes, in the logits' order by their ids.
name = "imagenet"
source = "WordNet 3.0, first hypernyms; the broad groups are this project's, each the classes below the nodes named"
"""


@dataclass(frozen=True)
class Synset:
    """A noun's first word and its first hypernym's id, None at the root."""

    word: str
    hypernym: str | None


def read_nouns(path: Path) -> dict[str, Synset]:
    """All synsets of a WordNet ``data.noun`` file by ImageNet's ids: an n and the eight digits of the offset.

    Raises:
        DataError: the file is missing, or is no such file.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        return dict(_synset(line) for line in lines if not line.startswith(" "))
    except (OSError, ValueError, IndexError) as error:
        raise DataError(f"cannot read WordNet's nouns in {path}: {error}; install wordnet-base") from error


def _synset(line: str) -> tuple[str, Synset]:
    """One line: offset, file, type, number of words in hex, word and id of each, number of pointers, pointers."""
    fields = line.split(" | ")[0].split()
    pointers = fields[4 + 2 * int(fields[3], 16) + 1 :]
    hypernyms = [f"n{offset}" for kind, offset in zip(pointers[::4], pointers[1::4], strict=False) if kind == "@"]
    return f"n{fields[0]}", Synset(fields[4].replace("_", " "), next(iter(hypernyms), None))


def chain(nouns: dict[str, Synset], synset: str) -> tuple[str, ...]:
    """Ids from the root to a synset along first hypernyms."""
    above = nouns[synset].hypernym
    return (synset,) if above is None else (*chain(nouns, above), synset)


def class_names(nouns: dict[str, Synset], synsets: Sequence[str]) -> dict[str, str]:
    """A unique name for each class: its first word, and its hypernym's in brackets where two share that."""
    words = [nouns[synset].word for synset in synsets]
    names = {}
    for synset, word in zip(synsets, words, strict=True):
        above = nouns[synset].hypernym
        names[synset] = word if words.count(word) == 1 or above is None else f"{word} ({nouns[above].word})"
    return names


def compose(nouns: dict[str, Synset], synsets: Sequence[str]) -> str:
    """The hierarchy file: the groups by their nodes' ids, and the tree as an indented outline.

    Raises:
        DataError: a synset is not in this WordNet.
    """
    missing = [synset for synset in synsets if synset not in nouns]
    if missing:
        raise DataError(f"expected WordNet 3.0, got one without {len(missing)} of the synsets, first {missing[0]}")
    chains = sorted(chain(nouns, synset) for synset in synsets)
    names = class_names(nouns, synsets)
    levels = [f'groups."{group}" = {json.dumps(list(nodes))}' for group, nodes in GROUPS.items()]
    outline: list[str] = []
    before: tuple[str, ...] = ()
    for ids in chains:
        for depth, node in enumerate(ids):
            if ids[: depth + 1] != before[: depth + 1]:
                outline.append(f"{' ' * depth}{node} {names.get(node, nouns[node].word)}")
        before = ids
    return "\n".join([HEAD + "tree = '''", *outline, "'''", "", "[[levels]]", 'name = "broad group"', *levels, ""])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m auditor.data.hierarchies.from_wordnet", description=__doc__)
    parser.add_argument("--out", type=Path, default=OUTPUT, help="the hierarchy file")
    parser.add_argument("--nouns", type=Path, default=NOUNS, help="WordNet 3.0's data.noun")
    options = parser.parse_args(arguments)
    try:
        synsets = package_file("timm", "data/_info/imagenet_synsets.txt").read_text(encoding="ascii").split()
        options.out.write_text(compose(read_nouns(options.nouns), synsets), encoding="utf-8")
    except AuditorError as error:
        parser.exit(error.exit_code, f"error: {error}\n")


if __name__ == "__main__":
    main()
