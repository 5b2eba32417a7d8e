"""``auditor scan --certify``: measured, stored, shown everywhere, and refused where it has no meaning."""

import json

import pytest

from tests.factories.command import run
from tests.web.serving import client


@pytest.mark.long
def test_the_bound_is_shown_beside_the_attacks() -> None:
    scan = ("scan", "demo", "--model", "plain-at-eps0.10", "--samples", "24", "--eps", "0.02", "--certify", "bounds")
    result = run(*scan)
    assert result.exit_code == 0
    (found,) = json.loads(run("results", "show", "plain-at-eps0.10", "--format", "json").stdout)
    certificate = found["certificate"]
    assert 0 < found["certified_accuracy"] == certificate["accuracy"] <= found["robust_accuracy"]
    for certified, survived in zip(certificate["certified"], found["verdicts"]["survived"], strict=True):
        assert survived or not certified
    share = f"{100 * found['certified_accuracy']:.1f}"
    assert "certified %" in result.stdout
    shown = run("results", "show", "plain-at-eps0.10").stdout
    assert f"at least {share} % (certified)" in shown
    assert client().get(f"/api/v1/results/{found['id']}").json()["certificate"] == certificate
    page = client().get(f"/audits/{found['id']}").text
    assert f"from {share} % certified to" in page
    assert "--certify bounds --device cpu --force" in page
    board = client().get("/?columns=certified&sort=-certified_accuracy").text
    assert f'<td class="number">{share}</td>' in board
    assert run("results", "plot", "--zoo", "--x", "certified_accuracy", "-o", "zoo.svg").exit_code == 0
    again = run(*scan)
    assert "0 audited, 1 done before" in again.stderr


@pytest.mark.long
def test_smoothing_is_a_figure_of_its_own() -> None:
    scan = ("scan", "demo", "--model", "noise", "--samples", "6", "--norm", "L2", "--eps", "0.25", "--certify")
    assert run(*scan, "smoothing").exit_code == 0
    (found,) = json.loads(run("results", "show", "noise", "--format", "json").stdout)
    assert found["certified_accuracy"] is None
    assert found["certificate"]["parameters"]["sigma"] == 0.125
    assert found["smoothed_certified_accuracy"] == sum(found["certificate"]["certified"]) / 6
    assert "of the smoothed model, which is another classifier" in run("results", "show", "noise").stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--protocol screen --certify bounds", "--certify has no meaning under 'screen'"),
        ("--certify smoothing", "--certify smoothing does not know the norm Linf of demo:standard: add --norm L2"),
        ("--sigma 0.2", "--sigma is the noise of --certify smoothing"),
        ("--certify bounds --sequential --fail-under 45%", "--sequential attacks fewer images than --certify needs"),
    ],
)
def test_where_it_has_no_meaning_it_is_refused(options: str, message: str) -> None:
    refused = run("scan", "demo", "--model", "standard", "--here", *options.split())
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1)
    assert message in refused.stderr
