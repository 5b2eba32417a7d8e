"""``--fail-under`` and ``--fail-on-regression``: results that pass, results that do not, and that all are stored."""

import json
from decimal import Decimal
from pathlib import Path

import pytest

from auditor.config import settings
from auditor.db.session import open_database
from tests.factories.audits import audited
from tests.factories.command import run, swap
from tests.factories.records import result_row
from tests.web.serving import client

FEW = ("--samples", "40")


@pytest.mark.long
@pytest.mark.parametrize(
    ("models", "gate", "code", "message"),
    [
        (["at-eps0.10"], "0.3", 0, None),
        (["at-eps0.10"], "30%", 0, None),
        (["at-eps0.10"], "0", 0, None),
        (["at-eps0.10", "standard"], "30%", 4, "standard: expected a robust accuracy of at least 30.0 %, got 0.0 %"),
        (["saturated"], "1%", 4, "demo:saturated: expected a robust accuracy of at least 1.0 %, got "),
    ],
)  # fmt: skip
@pytest.mark.parametrize("shape", ["table", pytest.param("json", marks=pytest.mark.long)])
def test_fail_under(models: list[str], gate: str, code: int, message: str | None, shape: str) -> None:
    chosen = [part for name in models for part in ("--model", name)]
    result = run("scan", "demo", *FEW, *chosen, "--fail-under", gate, "--format", shape)
    assert result.exit_code == code, result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("gate not met: ")]
    assert len(lines) == (code == 4)
    if message:
        assert message in lines[0]
        assert result.stderr.splitlines()[-1].startswith("error: 1 gate not met, of")
    assert "saturated" not in models or "zero_gradients, possible_masking: it cannot be trusted" in lines[0]
    assert len(json.loads(run("results", "list", "--format", "json").stdout)) == len(models)


@pytest.mark.parametrize(
    "gate", ["45", "-1", "nan", "snan", "inf", "x", "101%", "100.000001%", "1e400", "9" * 400, "1e9" * 9, "", "%"]
)
def test_invalid_shares(gate: str) -> None:
    result = run("scan", "demo", "--fail-under", gate)
    assert result.exit_code == 2
    assert "expected a share from 0 to 1" in result.stderr


@pytest.mark.parametrize("n", [256, 500, 1000, 10_000])
def test_a_share_that_is_reached_exactly_is_enough(n: int) -> None:
    """9 of 500 are 1.8 %, however the two were rounded."""
    from auditor.cli.gates import Share, _too_low

    for k in range(1, n, 7):
        share = Decimal(k) / n  # exact, since each n divides a power of 10
        for text in (f"{share:f}", f"{100 * share:f}%"):
            under = Share().convert(text, None, None)
            for accuracy, survivors in ((k / n, k), (1 - (n - k) / n, k), ((k - 1) / n, k - 1)):
                row = result_row(robust_accuracy=accuracy, n=n)
                assert bool(list(_too_low(row, under))) == (survivors < k), (text, accuracy)


def test_a_gate_that_the_protocol_cannot_measure_is_refused_before_anything_runs(tmp_path: Path) -> None:
    for option in (("--fail-under", "0.1"), ("--save-adversarials", tmp_path / "new")):
        result = run("scan", "demo", "--protocol", "screen", *option)
        assert result.exit_code == 2
        assert "has no meaning under 'screen'" in result.stderr
    assert not (tmp_path / "new").exists()
    assert json.loads(run("results", "list", "--format", "json").stdout) == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("before", "after", "code", "message"),
    [
        ("at-eps0.10", "at-eps0.10", 0, ""),
        ("standard", "at-eps0.10", 0, ""),
        ("at-eps0.10", "standard", 4, "got a robust accuracy of 0.0 % instead of"),
        ("standard", "saturated", 4, "got the new flag zero_gradients"),
        ("standard", None, 4, "got a failure: "),
    ],
)
def test_fail_on_regression(zoo: Path, before: str, after: str | None, code: int, message: str) -> None:
    scan = ("scan", "demo", "--model", "noise", *FEW, "--fail-on-regression")
    swap(zoo, "noise", before)
    first = run(*scan)
    assert first.exit_code == 0
    assert "demo:noise: no earlier result under this setting" in first.stderr
    if after:
        swap(zoo, "noise", after)
    else:
        (zoo / "noise.safetensors").write_bytes(b"")
    for _ in range(2):  # what is reused is as bad as what is new
        again = run(*scan)
        assert again.exit_code == code, again.stderr
        unmet = [line for line in again.stderr.splitlines() if line.startswith("gate not met: demo:noise: expected")]
        assert len(unmet) == (code == 4)
        assert all(message in line for line in unmet)
    other = run("scan", "demo", "--model", "noise", "--samples", "41", "--fail-on-regression")
    assert "no earlier result under this setting" in other.stderr
    assert other.exit_code == (0 if after else 1)


@pytest.mark.long
def test_an_unmet_gate_outweighs_a_failed_model(zoo: Path) -> None:
    (zoo / "noise.safetensors").write_bytes(b"")
    chosen = ("scan", "demo", "--model", "noise", "--model", "standard", *FEW)
    assert run(*chosen).exit_code == 1
    assert run(*chosen, "--fail-under", "0").exit_code == 1
    assert run(*chosen, "--fail-under", "0.9").exit_code == 4


@pytest.mark.parametrize("digest", ["same", "resized"])
@pytest.mark.parametrize(("lost", "unmet"), [(0, False), (4, False), (5, True)])
def test_a_loss_counts_when_the_one_sided_test_says_so(lost: int, unmet: bool, digest: str) -> None:
    """Of 5 samples lost and none won the one-sided p is 1/32, of 4 it is 1/16.

    What a model makes of the pictures before it sees them is its own, and may change.
    """
    from auditor.cli.gates import GateOptions, find_unmet, require_met
    from auditor.db.results import Filter, list_results
    from auditor.errors import GateError

    audited("a", 50, identity="before")
    audited("a", 50, identity="other images", data=1)
    now = audited("a", 50 - lost, identity="after", digest=digest)
    engine = open_database(settings().database_url)
    (row,) = list_results(engine, Filter())
    assert row.id == now
    found = find_unmet(engine, GateOptions(None, True), 3, [row])
    if unmet:
        with pytest.raises(GateError, match="1 gate not met, of"):
            require_met(found, 1)
    else:
        require_met(found, 1)


@pytest.mark.long
def test_a_sequential_gate_stops_early_and_is_neither_ranked_nor_reused_as_a_complete_result() -> None:
    models = ("--model", "standard", "--model", "at-eps0.10", "--samples", "200")
    result = run("scan", "demo", *models, "--fail-under", "30%", "--sequential", "--format", "json")
    assert result.exit_code == 4, result.stderr
    early = {row["model"]: row for row in json.loads(result.stdout)}
    for name, side in (("demo:standard", "below"), ("demo:at-eps0.10", "above")):
        row = early[name]
        assert row["n"] == row["samples"] < 200
        assert "stopped_early" in row["flags"]
        assert row["robust_low"] < row["robust_accuracy"] + 1e-12 < row["robust_high"] + 1e-9
        assert f"{name}: decided after {row['n']} of 200 images: the robust accuracy is {side} 30.0 %" in result.stderr
    assert "gate not met: demo:standard: expected a robust accuracy of at least 30.0 %, got 0.0 %" in result.stderr
    page = client().get(f"/audits/{early['demo:standard']['id']}").text
    assert "--samples 200 --norm Linf --eps 0.1 --seed 0 --fail-under 0.3 --sequential --device cpu --force" in page
    complete = run("scan", "demo", *models, "--format", "json")
    for row in json.loads(complete.stdout):
        assert (row["n"], "stopped_early" in row["flags"]) == (200, False)
        assert row["identity"] != early[row["model"]]["identity"]
    again = run("scan", "demo", *models, "--fail-under", "30%", "--sequential", "--format", "json")
    assert {row["n"] for row in json.loads(again.stdout)} == {200}  # a complete result answers the gate, too
    assert again.exit_code == 4


@pytest.mark.long
def test_a_stopped_audit_hides_no_complete_one_on_as_many_images() -> None:
    gate = ("--fail-under", "30%", "--sequential", "--format", "json")
    (complete,) = json.loads(run("scan", "demo", "--model", "standard", "--samples", "32", "--format", "json").stdout)
    (early,) = json.loads(run("scan", "demo", "--model", "standard", "--samples", "200", *gate).stdout)
    assert (complete["n"], early["n"]) == (32, 32)
    listed = {row["id"] for row in json.loads(run("results", "list", "--format", "json").stdout)}
    assert listed == {complete["id"], early["id"]}
    (shown,) = json.loads(run("results", "show", "demo:standard", "--format", "json").stdout)
    assert shown["id"] == complete["id"]


@pytest.mark.parametrize(
    "options",
    [
        ("--sequential",),
        ("--sequential", "--fail-under", "1%", "--fail-on-regression"),
        ("--sequential", "--fail-under", "1%", "--targeted", "superclass"),
        ("--sequential", "--fail-under", "1%", "--protocol", "strong"),
    ],
)
def test_sequential_needs_a_gate_that_it_can_decide(options: tuple[str, ...]) -> None:
    result = run("scan", "demo", *options)
    assert result.exit_code == 2
    assert "--sequential" in result.stderr
