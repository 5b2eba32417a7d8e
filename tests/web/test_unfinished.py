"""Pages of audits without a result, and of scans that were interrupted."""

import dataclasses

import pytest

from auditor.config import settings
from auditor.db.scans import cancel_scan
from auditor.db.session import open_database
from auditor.db.store import Store
from tests.factories.records import REQUEST, entry, record
from tests.web.serving import client


@pytest.mark.long
@pytest.mark.parametrize("state", ["failed", "cancelled", "queued"])
def test_an_audit_without_a_result_has_a_page_that_says_why(state: str) -> None:
    engine = open_database(settings().database_url)
    store = Store(engine)
    scan, (job,) = store.create_scan("demo", REQUEST, [dataclasses.replace(entry("one"), eps=8 / 255)])
    if state == "failed":
        store.fail(job.audit_id, store.claim(job.audit_id), "the model's logits are <b>NaN</b>")
    elif state == "cancelled":
        cancel_scan(engine, scan, "cancelled by an operator")
    page = client().get(f"/audits/{job.audit_id}")
    assert page.status_code == 200
    assert f"it is {state}" in page.text
    assert "8/255" in page.text
    if state == "queued":
        assert "Run it again" not in page.text
    else:
        assert "auditor scan demo --model one" in page.text
        assert ("&lt;b&gt;NaN" if state == "failed" else "cancelled by an operator") in page.text
        assert f'<a href="/audits/{job.audit_id}">' in client().get(f"/scans/{scan}").text
    assert client().get("/audits/999").status_code == 404
    assert client().get(f"/api/v1/results/{job.audit_id}").status_code == 404


def test_an_interrupted_scan_does_not_look_complete() -> None:
    engine = open_database(settings().database_url)
    store = Store(engine)
    scan, (job, *_) = store.create_scan("demo", REQUEST, [entry(name) for name in ("one", "two", "three")])
    assert store.finish(job.audit_id, store.claim(job.audit_id), record("one"))
    cancel_scan(engine, scan, "interrupted")
    page = client().get(f"/scans/{scan}").text
    assert 'class="done" x="0.0" width="33.333"' in page
    assert 'class="cancelled" x="33.333" width="66.667"' in page
    assert "interrupted: 1 of 3 ended" in page
    assert "The scan was interrupted: 2 of its 3 audits have no result." in page
    assert "Retry the 2 failed and cancelled" in page


@pytest.mark.long
def test_the_command_that_repeats_a_failed_audit_has_the_options_of_its_scan() -> None:
    store = Store(open_database(settings().database_url))
    one = dataclasses.replace(entry("one"), eps=0.123456789)
    further = {"curve": True, "certify": "smoothing", "sigma": 0.25}
    _, (job,) = store.create_scan("demo", REQUEST | {"targeted": "superclass", **further}, [one])
    store.fail(job.audit_id, store.claim(job.audit_id), "out of memory")
    page = client().get(f"/audits/{job.audit_id}").text
    assert "--eps 0.123456789" in page
    assert "--targeted superclass --curve --certify smoothing --sigma 0.25" in page
