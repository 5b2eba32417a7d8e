"""``auditor scan --certify``: measured, stored, shown everywhere, and refused where it has no meaning."""

import json
from pathlib import Path

import pytest

from auditor.records.certificates import NO_BOUND
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
def test_a_bound_of_0_says_so_wherever_it_stands(tmp_path: Path) -> None:
    models = ("--model", "standard", "--model", "plain-standard")
    result = run("scan", "demo", *models, "--samples", "10", "--certify", "bounds", "--here")
    assert result.exit_code == 0
    assert f"certified 0: {NO_BOUND}." in result.stdout
    assert f"certified 0: {NO_BOUND}." in run("results", "list").stdout
    found, _ = json.loads(run("results", "list", "--format", "json").stdout)
    assert found["certified_accuracy"] == 0
    assert f"certify: {NO_BOUND}" in found["notes"]
    assert NO_BOUND in run("results", "show", found["model"]).stdout
    server = client()
    assert f"certify: {NO_BOUND}" in server.get(f"/api/v1/results/{found['id']}").json()["notes"]
    page = server.get(f"/audits/{found['id']}").text
    assert "from 0.0 % certified to" in page
    assert page.count(NO_BOUND) == 2  # the sentence on the certificate, and the note
    assert f"certified 0: {NO_BOUND}." in server.get("/").text
    assert "certified 0" not in server.get("/?columns=gap").text
    assert f"Certified 0: {NO_BOUND}." in server.get("/zoo").text
    assert f"certified 0: {NO_BOUND}." in server.get("/compare?a=demo:standard&b=demo:plain-standard").text
    assert run("report", "1", "-o", str(tmp_path / "report.html")).exit_code == 0
    report = (tmp_path / "report.html").read_text()
    assert f"certified 0: {NO_BOUND}." in report
    assert f"Certified 0: {NO_BOUND}." in report
    assert run("results", "plot", "--zoo", "-o", str(tmp_path / "zoo.svg")).exit_code == 0


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
