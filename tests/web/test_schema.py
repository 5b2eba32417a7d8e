"""The HTTP API against its own schema: whatever the schema allows, and much that it does not, is no crash."""

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks

from auditor.config import settings as of_auditor
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.web.shapes import adaptations, jobs, results
from tests.factories.adaptations import adapted
from tests.factories.audits import audited
from tests.factories.command import run
from tests.factories.records import REQUEST, entry
from tests.web.serving import boosted, client, token

load_all_checks()
CHECKED = CHECKS.get_by_names(
    ["not_a_server_error", "content_type_conformance", "status_code_conformance", "response_schema_conformance"]
)
OPERATIONS = 34


@settings(max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def ask(operation: Any, headers: dict[str, str], data: st.DataObject) -> None:
    data.draw(operation.as_strategy()).call_and_validate(headers=headers, checks=CHECKED)


@pytest.mark.long
def test_no_request_is_a_crash() -> None:
    """Who writes has no token here: what a scan that begins does is tested elsewhere."""
    audited("strong", 80)
    adapted()
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", client(per_minute=10_000_000).app)
    reader, operations = token("read"), [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == OPERATIONS
    for operation in operations:
        ask(operation, reader if operation.method.upper() == "GET" else {})


@pytest.mark.long
def test_answers_have_the_shapes_that_the_schema_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Real scans, one that waits, a boost, a schedule that has run: no field is missing, and none is untold."""
    monkeypatch.setenv("AUDITOR_CHECKPOINTS", str(tmp_path / "checkpoints"))
    of_auditor.cache_clear()
    assert run("scan", "demo", "--model", "standard", "--model", "at-eps0.10", "--samples", "20").exit_code == 0
    assert run("scan", "demo", "--model", "saturated", "--protocol", "screen").exit_code == 0
    boosted(2, 1)
    adapted()
    adapted(state="queued")
    Store(open_database(of_auditor().database_url)).create_scan("demo", REQUEST, [entry("waits")], queue="cpu")
    words = ["--", "scan", "demo", "--model", "standard", "--samples", "20"]
    assert run("schedule", "add", "now", "--cron", "0 2 * * *", *words).exit_code == 0
    assert run("schedule", "run-now", "now").exit_code == 0
    server = client()
    for path, shape in (
        ("results", results.Results), ("audits?status=queued", results.Results), ("results/1", results.ResultDetail),
        ("results/1/matrices/features", results.MatrixShown), ("models", results.Models),
        ("models/demo:standard", results.ModelDetail), ("comparison?a=standard&b=at-eps0.10", results.Comparison),
        ("workers", jobs.Workers), ("scans", jobs.Scans), ("scans/1", jobs.ScanDetail), ("scans/3", jobs.ScanDetail),
        ("boosts", jobs.Boosts), ("boosts/1", jobs.Boost),
        ("adaptations", adaptations.Adaptations), ("adaptations/2", adaptations.Adaptation),
        ("adaptations/3", adaptations.Adaptation), ("checkpoints", jobs.Checkpoints),
        ("checkpoints/1", jobs.CheckpointDetail), ("schedules", jobs.Schedules),
    ):  # fmt: skip
        answer = server.get(f"/api/v1/{path}")
        assert answer.status_code == 200, path
        shape.model_validate_json(answer.content)
