"""The section "Errors" of an audit's page: the classes in it, and what is said where there is nothing to show."""

from dataclasses import replace

import numpy as np
import pytest

from auditor.config import settings
from auditor.db.results import load_detail
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.records import Verdicts
from auditor.web.audit.errors import MOST_BARS, build_audit_errors
from tests.factories.audits import audited
from tests.factories.records import done_audit
from tests.web.serving import client


@pytest.mark.long
def test_the_page_and_the_api_show_errors_of_a_stored_audit() -> None:
    done_audit(Store(open_database(settings().database_url)))
    page = client().get("/audits/1").text
    for part in ("<h3>Errors</h3>", "Confusion after the attacks", "Attack success by class", "y to z: 100.0 %",
                 "0 of 1 images survive, 1 are correct without an attack", "33.3 % of all samples have"):  # fmt: skip
        assert part in page
    errors = client().get("/api/v1/results/1").json()["errors"]
    assert errors["classes"][1] == {
        "name": "y", "superclass": "s", "n": 1, "correct": 1, "survived": 0, "robust_accuracy": 0, "low": 0,
        "high": pytest.approx(0.7935, abs=1e-4),
    }  # fmt: skip


@pytest.mark.long
def test_without_classes_the_reason_is_shown_and_without_attacks_nothing() -> None:
    old = audited("old", 60)
    page = client().get(f"/audits/{old}").text
    assert "Not available: audited before auditor stored the classes of the samples" in page
    store = Store(open_database(settings().database_url))
    screened = done_audit(store, "b", identity="j", attacks=(), verdicts=None)
    assert "<h3>Errors</h3>" not in client().get(f"/audits/{screened}").text


def test_of_many_classes_the_least_robust_have_bars() -> None:
    engine = open_database(settings().database_url)
    detail = load_detail(engine, done_audit(Store(engine)))
    labels = np.repeat(np.arange(60), 2)
    survived = np.arange(120) % 2 < (labels % 3 > 0)  # of every third class none, else one of two
    found = Verdicts(
        indices=np.arange(120), correct=np.ones(120, np.bool_), survived=survived, labels=labels,
        predicted=np.where(survived, labels, (labels + 1) % 60), broken_at=np.where(survived, -1, 0),
    )  # fmt: skip
    names, families = tuple(f"k{k}" for k in range(60)), tuple(str(k // 4) for k in range(60))
    section = build_audit_errors(replace(detail, verdicts=found, classes=names, superclasses=families, clusterings={}))
    assert section.sentences[-1] == f"The {MOST_BARS} of 60 classes with the lowest robust accuracy are:"
    assert [bar.value for bar in section.bars] == [0] * 20 + [50] * 20
    assert all(heatmap.picture for heatmap in section.heatmaps)
