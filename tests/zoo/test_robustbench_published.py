"""RobustBench's model_info as it is, and as it should not be."""

import os
import re
from pathlib import Path

import pytest

from auditor.errors import UsageError
from auditor.records import Published
from auditor.zoo.robustbench.published import find_files, read_published
from tests.factories.published import BAD, GOOD, write


@pytest.mark.parametrize("below", ["", "cifar10", "cifar10/Linf"])
def test_the_folder_may_be_any_level(tmp_path: Path, below: str) -> None:
    write(tmp_path, "cifar10/Linf/A", GOOD)
    (tmp_path / "cifar10/Linf/unaggregated_results.csv").write_text("a,b")
    (file,) = find_files(tmp_path / below)
    assert read_published(file) == Published(
        model="robustbench:cifar10/Linf/A",
        norm="Linf",
        eps=8 / 255,
        clean_accuracy=0.8969,
        autoattack_accuracy=0.5953,
        external_accuracy=0.592,
        architecture="WideResNet-28-10",
        paper="A Paper",
        venue="NeurIPS",
        link="https://arxiv.org/abs/1",
    )


@pytest.mark.parametrize("below", ["", "cifar10", "cifar10/models"])
def test_a_folder_without_figures_is_refused(tmp_path: Path, below: str) -> None:
    write(tmp_path, "cifar10/models/A", GOOD)
    with pytest.raises(UsageError, match=r"no published figures in .*model_info"):
        find_files(tmp_path / below)


@pytest.mark.parametrize(
    ("changes", "name", "expected"),
    [
        ({"eps": "0.031"}, "cifar10/Linf/A", {"eps": 0.031}),
        ({"eps": 0.5}, "cifar10/L2/A", {"eps": 0.5, "norm": "L2"}),
        ({"external": None}, "cifar10/Linf/A", {"external_accuracy": None, "robust_accuracy": 0.5953}),
        ({"external": ""}, "cifar10/Linf/A", {"external_accuracy": None}),
        ({"external": " null "}, "cifar10/Linf/A", {"external_accuracy": None}),
        ({"autoattack_acc": "0.00"}, "cifar10/Linf/A", {"robust_accuracy": 0.0}),
        ({"autoattack_acc": 7.4}, "cifar10/Linf/A", {"robust_accuracy": 0.074}),
        ({"clean_acc": "90 %"}, "cifar10/Linf/A", {"clean_accuracy": 0.9}),
        ({"unreliable": True}, "cifar10/Linf/A", {"unreliable": True}),
        ({"unreliable": None, "venue": None}, "cifar10/Linf/A", {"unreliable": False, "venue": None}),
        (
            {"corruptions_acc": "80.1", "autoattack_acc": None, "external": None},
            "imagenet/corruptions/A",
            {"norm": None, "eps": None, "corruptions_accuracy": 0.801, "robust_accuracy": None},
        ),
    ],
)
def test_odd_but_good_values(tmp_path: Path, changes: dict, name: str, expected: dict) -> None:
    found = read_published(write(tmp_path, name, GOOD | changes))
    assert {key: getattr(found, key) for key in expected} == expected


@pytest.mark.parametrize(("content", "message"), BAD)
def test_bad_files_say_why(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        read_published(write(tmp_path, "cifar10/Linf/A", content))


def test_a_key_may_come_again_with_the_same_value(tmp_path: Path) -> None:
    file = write(tmp_path, "cifar10/Linf/A", '{"clean_acc": "80", "clean_acc": "80"}')
    assert read_published(file).clean_accuracy == 0.8


@pytest.mark.parametrize(("name", "eps", "good"), [("L2", "3", True), ("Linf", "1", True), ("Linf", "8", False)])
def test_a_radius_beyond_the_pixels_is_one_of_another_unit(tmp_path: Path, name: str, eps: str, good: bool) -> None:
    file = write(tmp_path, f"cifar10/{name}/A", GOOD | {"eps": eps})
    if good:
        assert read_published(file).eps == float(eps)
    else:
        with pytest.raises(UsageError, match=r"expected an Linf eps of at most 1, .*, got 8"):
            read_published(file)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("svhn/Linf", "a folder named after a data set, cifar10, cifar100, imagenet, got 'svhn'"),
        ("cifar10/L1", "a folder named after a threat model, Linf, L2, corruptions, corruptions_3d, got 'L1'"),
        ("cifar10/linf", "got 'linf'"),
    ],
)
def test_folders_that_robustbench_does_not_have_are_refused(tmp_path: Path, name: str, message: str) -> None:
    good, bad = write(tmp_path, "cifar10/Linf/A", GOOD), write(tmp_path, f"{name}/B", GOOD)
    assert sorted(find_files(tmp_path)) == sorted([good, bad])
    with pytest.raises(UsageError, match=re.escape(message)):
        read_published(bad)
    file = write(tmp_path, "cifar100/Linf/C", GOOD)  # as five of RobustBench's own do, it says cifar10
    assert read_published(file).model == "robustbench:cifar100/Linf/C"


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "cifar10/Linf/A.json").mkdir(parents=True)
    with pytest.raises(UsageError, match="cannot be read"):
        read_published(tmp_path / "cifar10/Linf/A.json")
    (tmp_path / "cifar10/Linf/B.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(UsageError, match="is not JSON"):
        read_published(tmp_path / "cifar10/Linf/B.json")


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    good = write(tmp_path, "cifar10/Linf/A", GOOD)
    pipe = good.with_name("B.json")
    os.mkfifo(pipe)
    (folder := good.with_name("C.json")).mkdir()
    for file in (pipe, folder):
        with pytest.raises(UsageError, match=r"expected a file, got a (folder|pipe, a socket or a device)"):
            read_published(file)
