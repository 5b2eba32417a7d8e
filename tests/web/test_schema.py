"""The HTTP API against its own schema: whatever the schema allows, and much that it does not, is no crash."""

from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks

from tests.cli.test_compare import audited
from tests.web.serving import client, token

load_all_checks()
CHECKED = CHECKS.get_by_names(["not_a_server_error", "content_type_conformance", "status_code_conformance"])
OPERATIONS = 16


@settings(max_examples=20, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def ask(operation: Any, headers: dict[str, str], data: st.DataObject) -> None:
    data.draw(operation.as_strategy()).call_and_validate(headers=headers, checks=CHECKED)


def test_no_request_is_a_crash() -> None:
    """Who writes has no token here: what a scan that begins does is tested elsewhere."""
    audited("strong", 80)
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", client(per_minute=10_000_000).app)
    reader, operations = token("read"), [found.ok() for found in schema.get_all_operations()]
    assert len(operations) == OPERATIONS
    for operation in operations:
        ask(operation, reader if operation.method.upper() == "GET" else {})
