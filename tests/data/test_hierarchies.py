"""Class hierarchies: each class once at each level, the groups that their sources name, the tree that WordNet has."""

import subprocess
import sys
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from auditor.clustering import clustering_scores
from auditor.data import CLASSES, hierarchies, imagenet, load_hierarchy
from auditor.data.hierarchies import Hierarchy, from_wordnet, outline_of
from auditor.data.hierarchies.outline import read_outline
from auditor.errors import DataError

FOLDER = Path(hierarchies.__file__).parent


@pytest.fixture(scope="module", params=sorted(CLASSES))
def hierarchy(request: pytest.FixtureRequest) -> Hierarchy:
    return load_hierarchy(request.param, CLASSES[request.param])


def test_each_level_has_a_label_a_class_the_finest_first(hierarchy: Hierarchy) -> None:
    assert hierarchy.classes == CLASSES[hierarchy.name]
    assert all(len(level) == len(hierarchy.classes) for level in hierarchy.levels)
    sizes = [len(set(level)) for level in hierarchy.levels]
    assert sizes == sorted(sizes, reverse=True)
    assert all(1 < size < len(hierarchy.classes) for size in sizes)
    assert hierarchy.source


@pytest.mark.parametrize("name", ["cifar10", "cifar100", "imagenet"])
def test_the_labels_of_cifar_and_imagenet_are_sorted(name: str) -> None:
    """Their makers numbered the classes by name, and the synsets by id."""
    ordered = imagenet.SYNSETS if name == "imagenet" else CLASSES[name]
    assert list(ordered) == sorted(ordered)
    assert len(set(CLASSES[name])) == len(ordered) == {"cifar10": 10, "cifar100": 100, "imagenet": 1000}[name]


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_coarse_levels_join_whole_groups_of_finer_ones(name: str) -> None:
    for fine, coarse in pairwise(load_hierarchy(name, CLASSES[name]).levels):
        assert len(set(zip(fine, coarse, strict=True))) == len(set(fine))


def test_cifar10_has_vehicles_and_animals() -> None:
    found = load_hierarchy("cifar10", CLASSES["cifar10"])
    assert "".join(label[0] for label in found.superclasses) == "vvaaaaaavv"
    assert dict(zip(found.classes, found.levels[0], strict=True))["truck"] == "road vehicles"


def test_cifar100_has_the_twenty_superclasses_of_its_maker() -> None:
    # The coarse label of each fine class, in the order of the fine labels, as the data set's own files number them.
    numbers = [
        4, 1, 14, 8, 0, 6, 7, 7, 18, 3, 3, 14, 9, 18, 7, 11, 3, 9, 7, 11, 6, 11, 5, 10, 7, 6, 13, 15, 3, 15, 0, 11, 1,
        10, 12, 14, 16, 9, 11, 5, 5, 19, 8, 8, 15, 13, 14, 17, 18, 10, 16, 4, 17, 4, 2, 0, 17, 4, 18, 17, 10, 3, 2, 12,
        12, 16, 12, 1, 9, 19, 2, 10, 0, 1, 16, 12, 9, 13, 15, 13, 16, 19, 2, 4, 6, 19, 5, 5, 8, 19, 18, 1, 2, 15, 6, 0,
        17, 8, 14, 13,
    ]  # fmt: skip
    names = [
        "aquatic mammals", "fish", "flowers", "food containers", "fruit and vegetables",
        "household electrical devices", "household furniture", "insects", "large carnivores",
        "large man-made outdoor things", "large natural outdoor scenes", "large omnivores and herbivores",
        "medium-sized mammals", "non-insect invertebrates", "people", "reptiles", "small mammals", "trees",
        "vehicles 1", "vehicles 2",
    ]  # fmt: skip
    found = load_hierarchy("cifar100", CLASSES["cifar100"])
    assert list(found.superclasses) == [names[number] for number in numbers]
    assert set(Counter(found.superclasses).values()) == {5}


def test_imagenets_groups() -> None:
    found = load_hierarchy("imagenet", CLASSES["imagenet"])
    group = dict(zip(found.classes, found.superclasses, strict=True))
    sizes = Counter(group.values())
    assert 9 <= len(sizes) <= 20
    assert sum(sizes.values()) == 1000
    assert (sizes["mammals"], sizes["birds"], sizes["fish"]) == (218, 59, 16)
    known = {
        "tabby": "mammals", "golden retriever": "mammals", "hen": "birds", "quail": "birds", "tench": "fish",
        "tree frog": "amphibians", "banded gecko": "reptiles", "tarantula": "invertebrates",
        "jellyfish": "invertebrates",
        "scuba diver": "people", "daisy": "plants and fungi", "agaric": "plants and fungi", "volcano": "landforms",
        "pizza": "food", "banana": "food", "church": "structures", "lumbermill": "structures", "bakery": "structures",
        "sports car": "vehicles", "airliner": "vehicles", "cowboy hat": "clothing", "running shoe": "clothing",
        "wine bottle": "containers", "rocking chair": "furnishings", "acoustic guitar": "musical instruments",
        "analog clock": "devices", "hammer": "implements", "desktop computer": "devices",
        "cassette player": "equipment",
        "umbrella": "other things", "crane (wading bird)": "birds", "crane (lifting device)": "devices",
    }  # fmt: skip
    assert {name: group[name] for name in known} == known


def test_classes_are_the_nearer_the_deeper_their_common_ancestor_lies() -> None:
    found = load_hierarchy("imagenet", CLASSES["imagenet"])

    def apart(one: str, other: str) -> int:
        first, second = found.classes.index(one), found.classes.index(other)
        return sum(level[first] != level[second] for level in found.levels)

    distances = [apart("beagle", other) for other in ("basset", "Chihuahua", "timber wolf", "tabby", "hen", "pizza")]
    assert distances == sorted(distances)
    assert len(set(distances)) > 4
    depths = [set(chain) for chain in outline_of("imagenet").chains]
    rng = np.random.default_rng(0)
    shared, levels = [], []
    for one, other in rng.integers(0, 1000, (2000, 2)):
        if one != other and found.superclasses[one] == found.superclasses[other]:
            shared.append(len(depths[one] & depths[other]))
            levels.append(sum(level[one] != level[other] for level in found.levels))
    assert len(set(shared)) > 5
    # Inside a group the two count the same but for the depths that join no two classes, and are left out.
    sums = np.array(shared) + np.array(levels)
    assert sums.max() - sums.min() <= 1


def test_the_tree_gives_the_spearman_score_of_a_matrix_that_follows_it() -> None:
    found = load_hierarchy("imagenet", CLASSES["imagenet"])
    numbered = [np.unique(level, return_inverse=True)[1] for level in found.levels]
    together = np.mean([level[:, None] == level for level in numbered], axis=0)
    np.fill_diagonal(together, 1)
    scores = clustering_scores(together, found.superclasses, levels=found.levels, permutations=9)
    assert scores.tree_spearman == pytest.approx(1)
    assert scores.gap > 0


def test_the_imagenet_hierarchy_is_small() -> None:
    assert (FOLDER / "imagenet.toml").stat().st_size < 200_000


def test_wordnets_licence_is_shipped() -> None:
    text = (FOLDER / "WORDNET_LICENSE").read_text()
    assert "WordNet 3.0 Copyright 2006 by Princeton University" in text
    assert "WORDNET_LICENSE" in (FOLDER / "imagenet.toml").read_text()


@pytest.fixture(scope="module")
def wordnet() -> Path:
    if not from_wordnet.NOUNS.is_file():
        pytest.skip("THE IMAGENET HIERARCHY IS NOT CHECKED AGAINST ITS SOURCE: install Debian's package wordnet-base")
    pytest.importorskip("timm", reason="THE IMAGENET HIERARCHY IS NOT CHECKED: pip install 'auditor[zoos]'")
    return from_wordnet.NOUNS


@pytest.mark.long
@pytest.mark.usefixtures("wordnet")
@pytest.mark.parametrize("name", ["imagenet", "tiny_imagenet"])
def test_the_hierarchies_of_imagenet_are_what_their_script_makes(name: str, tmp_path: Path) -> None:
    made = tmp_path / "made.toml"
    program = [sys.executable, "-m", "auditor.data.hierarchies.from_wordnet", name, "--out", str(made)]
    subprocess.run(program, check=True, cwd=FOLDER.parent.parent.parent)
    assert made.read_bytes() == (FOLDER / f"{name}.toml").read_bytes()


def test_the_groups_nodes_are_the_words_that_the_script_says(wordnet: Path) -> None:
    nouns = from_wordnet.read_nouns(wordnet)
    for nodes in from_wordnet.GROUPS.values():
        assert {node: nouns[node].word for node in nodes} == nodes


def test_classes_are_below_their_synsets_first_hypernyms(wordnet: Path) -> None:
    nouns = from_wordnet.read_nouns(wordnet)
    for chain in outline_of("imagenet").chains:
        for above, below in pairwise(chain):
            assert nouns[below].hypernym == above


@pytest.mark.parametrize("content", [None, b"", b"<html></html>", b"\xff\xfe", b"00001740 03 n 0x\n"])
def test_what_is_not_wordnet(content: bytes | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nouns = tmp_path / "data.noun"
    if content is not None:
        nouns.write_bytes(content)
    pytest.importorskip("timm", reason="needs timm's list: pip install 'auditor[zoos]'")
    with pytest.raises(SystemExit) as end:
        from_wordnet.main(["--out", str(tmp_path / "out"), "--nouns", str(nouns)])
    assert end.value.code == 3
    assert "ordNet" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


TREE = """\
r root
 a animal
  d dog
  c cat
 p plant
 t thing
  v vehicle
   b bus"""


def test_an_outline_on_paper() -> None:
    tree = read_outline(TREE)
    assert tree.leaves == {"b": "bus", "c": "cat", "d": "dog", "p": "plant"}
    assert tree.chains == (("r", "t", "v", "b"), ("r", "a", "c"), ("r", "a", "d"), ("r", "p"))
    assert tree.depths() == [("t", "a", "a", "p")]
    assert tree.labels({"living": ["a", "p"], "pets": ["d"], "all": ["r"]}) == ("all", "living", "pets", "living")


@pytest.mark.parametrize(
    ("change", "message"),
    [(lambda names: names[:-1], "1000|999"), (lambda names: (*names[:-1], "unicorn"), "unicorn")],
)
def test_a_tree_must_have_the_classes(change, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load_hierarchy("imagenet", change(CLASSES["imagenet"]))
