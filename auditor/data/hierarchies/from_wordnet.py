"""Make ImageNet's hierarchies: ``python -m auditor.data.hierarchies.from_wordnet [tiny_imagenet] --out FILE``.

From WordNet 3.0 (Debian's package wordnet-base) and the list of ImageNet's 1,000 synsets that timm ships, or the 200
of Tiny ImageNet; the same two give the same bytes. Each class hangs on the tree by its first chain of hypernyms: where
a synset has several hypernyms, the one that WordNet names first counts.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from auditor.data.installed import package_file
from auditor.errors import AuditorError, DataError

NOUNS = Path("/usr/share/wordnet/data.noun")
DATA_SETS = ("imagenet", "tiny_imagenet")

TINY_IMAGENET = """\
    n01443537 n01629819 n01641577 n01644900 n01698640 n01742172 n01768244 n01770393 n01774384 n01774750 n01784675
    n01855672 n01882714 n01910747 n01917289 n01944390 n01945685 n01950731 n01983481 n01984695 n02002724 n02056570
    n02058221 n02074367 n02085620 n02094433 n02099601 n02099712 n02106662 n02113799 n02123045 n02123394 n02124075
    n02125311 n02129165 n02132136 n02165456 n02190166 n02206856 n02226429 n02231487 n02233338 n02236044 n02268443
    n02279972 n02281406 n02321529 n02364673 n02395406 n02403003 n02410509 n02415577 n02423022 n02437312 n02480495
    n02481823 n02486410 n02504458 n02509815 n02666196 n02669723 n02699494 n02730930 n02769748 n02788148 n02791270
    n02793495 n02795169 n02802426 n02808440 n02814533 n02814860 n02815834 n02823428 n02837789 n02841315 n02843684
    n02883205 n02892201 n02906734 n02909870 n02917067 n02927161 n02948072 n02950826 n02963159 n02977058 n02988304
    n02999410 n03014705 n03026506 n03042490 n03085013 n03089624 n03100240 n03126707 n03160309 n03179701 n03201208
    n03250847 n03255030 n03355925 n03388043 n03393912 n03400231 n03404251 n03424325 n03444034 n03447447 n03544143
    n03584254 n03599486 n03617480 n03637318 n03649909 n03662601 n03670208 n03706229 n03733131 n03763968 n03770439
    n03796401 n03804744 n03814639 n03837869 n03838899 n03854065 n03891332 n03902125 n03930313 n03937543 n03970156
    n03976657 n03977966 n03980874 n03983396 n03992509 n04008634 n04023962 n04067472 n04070727 n04074963 n04099969
    n04118538 n04133789 n04146614 n04149813 n04179913 n04251144 n04254777 n04259630 n04265275 n04275548 n04285008
    n04311004 n04328186 n04356056 n04366367 n04371430 n04376876 n04398044 n04399382 n04417672 n04456115 n04465501
    n04486054 n04487081 n04501370 n04507155 n04532106 n04532670 n04540053 n04560804 n04562935 n04596742 n04597913
    n06596364 n07579787 n07583066 n07614500 n07615774 n07695742 n07711569 n07715103 n07720875 n07734744 n07747607
    n07749582 n07753592 n07768694 n07871810 n07873807 n07875152 n07920052 n09193705 n09246464 n09256479 n09332890
    n09428293 n12267677
"""
"""The synsets of Tiny ImageNet (Le and Yang, 2015), as its file wnids.txt lists them, here in the order of the ids."""

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
name = "{name}"
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


def compose(nouns: dict[str, Synset], synsets: Sequence[str], name: str = "imagenet") -> str:
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
    return "\n".join(
        [HEAD.format(name=name) + "tree = '''", *outline, "'''", "", "[[levels]]", 'name = "broad group"', *levels, ""]
    )


def synsets_of(name: str) -> list[str]:
    """The synsets of ``imagenet`` or ``tiny_imagenet``, in the order of the ids."""
    if name == "tiny_imagenet":
        return TINY_IMAGENET.split()
    return package_file("timm", "data/_info/imagenet_synsets.txt").read_text(encoding="ascii").split()


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m auditor.data.hierarchies.from_wordnet", description=__doc__)
    parser.add_argument("name", nargs="?", choices=DATA_SETS, default=DATA_SETS[0], help="the data set")
    parser.add_argument("--out", type=Path, help="the hierarchy file; by default the shipped one")
    parser.add_argument("--nouns", type=Path, default=NOUNS, help="WordNet 3.0's data.noun")
    options = parser.parse_args(arguments)
    out = options.out or Path(__file__).parent / f"{options.name}.toml"
    try:
        out.write_text(compose(read_nouns(options.nouns), synsets_of(options.name), options.name), encoding="utf-8")
    except AuditorError as error:
        parser.exit(error.exit_code, f"error: {error}\n")


if __name__ == "__main__":
    main()
