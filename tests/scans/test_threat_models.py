"""Which models are audited under corruptions, and which under a norm ball."""

from dataclasses import replace
from pathlib import Path

import pytest

from auditor.errors import UsageError
from auditor.records import ZooEntry
from auditor.records.boosts import RecipeOptions
from auditor.records.corruptions import GENERATED, PUBLISHED, PUBLISHED_3D
from auditor.scans.threat_models import entries_under
from auditor.zoo import select
from auditor.zoo.robustbench import RobustBenchZoo
from tests.factories.records import entry

LINF = entry()


def listed(dataset: str = "cifar10") -> ZooEntry:
    return next(
        one for one in RobustBenchZoo().entries() if (one.dataset, one.threat_model) == (dataset, "corruptions")
    )


def test_models_listed_for_corruptions_are_audited_under_them_and_under_a_norm_if_asked() -> None:
    (under,) = entries_under([listed()], None, None, None, None)
    assert (under.threat_model, under.norm, under.eps) == ("corruptions", GENERATED, 0)
    (ball,) = entries_under([listed()], "L2", 0.5, None, None)
    assert (ball.threat_model, ball.norm, ball.eps) == ("L2", "L2", 0.5)
    for norm, eps, message in ((None, 0.1, "--eps needs --norm"), ("Linf", None, "--norm Linf needs --eps")):
        with pytest.raises(UsageError, match=message):
            entries_under([listed()], norm, eps, None, None)


def test_any_model_can_be_measured_under_corruptions() -> None:
    (under,) = entries_under([LINF], None, None, "corruptions", None)
    assert under == replace(LINF, threat_model="corruptions", norm=GENERATED, eps=0)
    assert entries_under([LINF], None, None, None, None) == [LINF]
    assert entries_under([LINF], None, None, "Linf", None) == [LINF]
    with pytest.raises(UsageError, match="leave out --norm and --eps"):
        entries_under([LINF], "Linf", 0.1, "corruptions", None)


@pytest.mark.parametrize(
    ("dataset", "threat_model", "file", "norm"),
    [
        ("cifar10", "corruptions", "CIFAR-10-C/fog.npy", PUBLISHED),
        ("cifar10", "corruptions", "snow.npy", PUBLISHED),
        ("cifar10", "corruptions", "CIFAR-100-C/fog.npy", GENERATED),
        ("cifar100", "corruptions", "CIFAR-100-C/fog.npy", PUBLISHED),
        ("imagenet", "corruptions", "ImageNet-C/fog/3/x", PUBLISHED),
        ("imagenet", "corruptions_3d", "ImageNet-3DCC/fog_3d/3/x", PUBLISHED_3D),
    ],
)
def test_published_files_are_found_by_their_names(
    dataset: str, threat_model: str, file: str, norm: str, tmp_path: Path
) -> None:
    (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / file).write_bytes(b"")
    (under,) = entries_under([listed(dataset)], None, None, threat_model, tmp_path)
    assert (under.threat_model, under.norm) == (threat_model, norm)


def test_the_threat_model_selects_where_a_zoo_lists_models_for_it() -> None:
    robustbench = RobustBenchZoo().entries()
    assert len(select(robustbench, threat_model="corruptions")) == 41
    named = select(robustbench, models=("cifar10/Linf/Wong2020Fast",), threat_model="corruptions")
    assert [one.threat_model for one in named] == ["Linf"]
    demo = [replace(LINF, model=f"demo:{name}") for name in "ab"]
    assert select(demo, threat_model="corruptions") == demo
    with pytest.raises(UsageError, match="match none"):
        select(demo, threat_model="L2")


def test_a_boost_needs_a_norm() -> None:
    with pytest.raises(UsageError, match="add --norm and --eps"):
        RecipeOptions().make_recipe(eps=0.0, norm="corruptions")
