"""Which models are audited under corruptions, and which under a norm ball."""

from dataclasses import replace
from pathlib import Path

import pytest

from auditor.config import settings
from auditor.db.results import Filter, list_results
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.errors import UsageError
from auditor.records import AuditRequest, Measurement, ZooEntry
from auditor.records.boosts import RecipeOptions
from auditor.records.corruptions import GENERATED, PUBLISHED, PUBLISHED_3D
from auditor.records.extra_attacks import ExtraAttacks, TransferModel
from auditor.scans.threat_models import check_options, entries_under
from auditor.zoo import select
from auditor.zoo.robustbench import RobustBenchZoo
from tests.factories.records import REQUEST, entry

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


CORRUPTED = replace(LINF, model="demo:foggy", threat_model="corruptions", norm=GENERATED, eps=0.0)
OF_ATTACKS: dict[str, object] = {
    "protocol": "strong",
    "targeted": "superclass",
    "curve": True,
    "certify": "bounds",
    "stop_at": 0.4,
    "triage": 0.5,
    "extra_attacks": ExtraAttacks(transfer=(TransferModel(model="demo:standard"),)),
}


@pytest.mark.parametrize("name", OF_ATTACKS)
def test_what_only_attacks_have_is_left_out_under_corruptions_and_said(name: str) -> None:
    asked = Measurement(audit=replace(AuditRequest(protocol="quick"), **{name: OF_ATTACKS[name]}), samples=8)
    with pytest.raises(UsageError, match="has no meaning for demo:foggy"):
        check_options([CORRUPTED], asked)
    (said,) = check_options([LINF, CORRUPTED], asked)
    assert said.endswith("has no meaning under corruptions: 1 model, such as demo:foggy, will be measured without it")
    assert check_options([LINF], asked) == []
    assert asked.under("Linf") == asked
    plain = AuditRequest(protocol="standard" if name == "protocol" else "quick")
    assert asked.under(GENERATED) == replace(asked, audit=plain)


def test_a_certificate_is_left_out_in_other_norms_and_said() -> None:
    asked = Measurement(audit=AuditRequest(protocol="quick", certify="smoothing", sigma=0.2), samples=8)
    (said,) = check_options([LINF, replace(LINF, model="demo:round", norm="L2")], asked)
    assert said == (
        "--certify smoothing does not know the norm Linf of demo:a: 1 model will be measured without a certificate"
    )
    assert asked.under("Linf").audit == AuditRequest(protocol="quick")
    assert asked.under("L2") == asked


def test_the_row_of_a_corrupted_model_in_a_mixed_scan_names_no_attack() -> None:
    store = Store(open_database(settings().database_url))
    stored = REQUEST | {"protocol": "strong", "extra_attacks": {"transfer": [{"model": "demo:a"}], "own": []}}
    store.create_scan("demo", stored, [LINF, CORRUPTED])
    rows = list_results(store.engine, Filter(history=True))
    assert {row.model: (row.protocol, row.extra_attacks) for row in rows} == {
        "demo:a": ("strong", "transfer from demo:a"), "demo:foggy": ("standard", None),
    }  # fmt: skip


def test_a_boost_needs_a_norm() -> None:
    with pytest.raises(UsageError, match="add --norm and --eps"):
        RecipeOptions().make_recipe(eps=0.0, norm="corruptions")
