"""``auditor scan --targeted superclass``: measured, stored, shown, and no part of other audits."""

import json

import pytest
from scipy.stats import binomtest

from tests.factories.command import run
from tests.web.serving import client


@pytest.mark.long
def test_success_rates_are_stored_beside_the_same_verdicts() -> None:
    scan = ("scan", "demo", "--model", "at-eps0.05", "--samples", "20")
    assert run(*scan).exit_code == 0
    (plain,) = json.loads(run("results", "show", "at-eps0.05", "--format", "json").stdout)
    assert plain["targeted"] is None
    assert "targeted" not in run("results", "show", "at-eps0.05").stdout
    assert run(*scan, "--targeted", "superclass").exit_code == 0
    (found,) = json.loads(run("results", "show", "at-eps0.05", "--format", "json").stdout)
    assert found["identity"] != plain["identity"]
    assert found["verdicts"] == plain["verdicts"]
    score = found["targeted"]
    assert (score["targets"], score["n"]) == (9, sum(found["verdicts"]["correct"]))
    for kind in ("within", "across"):
        low, high = binomtest(score[kind], score[f"{kind}_n"]).proportion_ci(method="wilson")
        rate = score[kind] / score[f"{kind}_n"]
        assert (score[f"{kind}_rate"], score[f"{kind}_low"], score[f"{kind}_high"]) == pytest.approx((rate, low, high))
        assert f"{100 * rate:.1f} % of {score[f'{kind}_n']} became" in run("results", "show", "at-eps0.05").stdout
    assert client().get(f"/api/v1/results/{found['id']}").json()["targeted"] == score
    page = client().get(f"/audits/{found['id']}").text
    assert "Attacks towards 9 wrong classes of each correctly classified image" in page
    assert "--targeted superclass --device cpu --force" in page
    again = run(*scan, "--targeted", "superclass")
    assert "0 audited, 1 done before" in again.stderr


def test_it_has_no_meaning_without_attacks() -> None:
    refused = run("scan", "demo", "--protocol", "screen", "--targeted", "superclass")
    assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1)
    assert "--targeted has no meaning under 'screen', which attacks no model" in refused.stderr
