"""``auditor scan --curve``: measured, stored, shown, compared, plotted and gated, on the command line and the pages."""

import json
from pathlib import Path

import pytest

from auditor.config import settings
from auditor.db.session import open_database
from auditor.db.store import Store
from tests.factories.command import run
from tests.factories.curves import curve_of
from tests.factories.records import done_audit
from tests.web.serving import client

SCAN = ("scan", "demo", "--model", "at-eps0.05", "--samples", "12")


@pytest.mark.long
def test_a_curve_is_measured_stored_and_shown(tmp_path: Path) -> None:
    assert run(*SCAN).exit_code == 0
    (plain,) = json.loads(run("results", "show", "at-eps0.05", "--format", "json").stdout)
    assert plain["curve"] is None
    gated = run(
        *SCAN, "--curve", "--fail-under-at", "100%@0.05", "--fail-under-at", "1%@0.001", "--fail-under-area", "9"
    )
    assert gated.exit_code == 4
    assert "expected a robust accuracy of at least 100.0 % at 0.05, got" in gated.stderr
    assert "expected an area under the curve of at least 9, got" in gated.stderr
    assert "2 gates not met" in gated.stderr
    (found,) = json.loads(run("results", "show", "at-eps0.05", "--format", "json").stdout)
    assert found["identity"] != plain["identity"]
    assert found["verdicts"] == plain["verdicts"]
    curve = found["curve"]
    assert curve["n"] == len(curve["sizes"]) == 12
    assert [point["eps"] / found["eps"] for point in curve["points"]] == pytest.approx([0.25, 0.5, 1, 1.5, 2])
    assert curve["points"][2]["robust"] <= found["robust_accuracy"]
    shown = run("results", "show", "at-eps0.05").stdout
    assert "median critical ε" in shown
    assert "area under R" in shown
    assert "R at ε" in shown
    picture = tmp_path / "curve.svg"
    assert run("results", "plot", "at-eps0.05", "--curve", "-o", str(picture)).exit_code == 0
    assert picture.stat().st_size > 1000
    server = client()
    assert server.get(f"/api/v1/audits/{found['id']}/curve").json() == curve
    assert server.get(f"/api/v1/results/{found['id']}").json()["curve"] == curve
    page = server.get(f"/audits/{found['id']}").text
    assert "Robust accuracy at every radius" in page
    assert "--curve --device cpu --force" in page
    assert "0 audited, 1 done before" in run(*SCAN, "--curve").stderr


def _stored(name: str, sizes: list[float]) -> int:
    """A stored audit of three samples with this curve."""
    return done_audit(Store(open_database(settings().database_url)), name, curve=curve_of(sizes))


def test_a_result_without_a_curve_says_how_to_get_one(tmp_path: Path) -> None:
    done_audit(Store(open_database(settings().database_url)), "plain")
    refused = run("results", "plot", "demo:plain", "--curve", "-o", str(tmp_path / "x.png"))
    assert refused.exit_code == 2
    assert "has no curve: `auditor scan … --curve` measures one" in refused.stderr
    assert client().get("/api/v1/audits/1/curve").status_code == 404


@pytest.mark.long
def test_several_models_in_one_plot(tmp_path: Path) -> None:
    _stored("a", [0.1, 0.2, 0.0])
    _stored("b", [0.05, 0.4, 0.0])
    out = tmp_path / "both.svg"
    assert run("results", "plot", "demo:a", "demo:b", "--curve", "-o", str(out)).exit_code == 0
    refused = run("results", "plot", "demo:a", "demo:b", "-o", str(out))
    assert refused.exit_code == 2
    assert "expected one MODEL" in refused.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--protocol", "screen", "--curve"), "--curve has no meaning under 'screen'"),
        (("--curve", "--fail-under", "40%", "--sequential"), "--sequential attacks fewer images than --curve needs"),
        (("--fail-under-at", "45%@4/255"), "--fail-under-at and --fail-under-area need --curve"),
        (("--curve", "--fail-under-at", "45%"), "expected a share and a radius, such as 45%@4/255, got '45%'"),
        (("--curve", "--fail-under-at", "145%@0.1"), "expected a share from 0 to 1"),
        (("--curve", "--fail-under-at", "45%@x"), "expected a number such as 0.03 or 8/255, got 'x'"),
    ],
)
def test_contradictions_are_one_line(words: tuple[str, ...], message: str) -> None:
    refused = run("scan", "demo", "--dry-run", *words)
    assert refused.exit_code == 2
    assert message in refused.stderr
    assert "Traceback" not in refused.stderr
