"""The server of child processes has imported what an audit imports: a fork of it must not import it again."""

import json
import subprocess
import sys

import pytest

AUDIT = """
import json, sys
import auditor.jobs.preload
from auditor.audit.task import measure
from auditor.records import AuditRequest, JobContext
from auditor.scans.request import ScanRequest
from auditor.zoo import find_source

source = find_source("demo", None, trust_code=False)
entry = next(one for one in source.entries() if one.model == "demo:plain-standard")
request = ScanRequest.make(AuditRequest(protocol="quick"), samples=8).measurement
before = set(sys.modules)
assert measure(source, entry, request, JobContext()) is not None
print(json.dumps(sorted(set(sys.modules) - before)))
"""


@pytest.mark.long
def test_the_first_audit_of_a_process_imports_no_library() -> None:
    ended = subprocess.run([sys.executable, "-c", AUDIT], capture_output=True, text=True, check=True)
    imported = [name for name in json.loads(ended.stdout) if not name.startswith(("auditor", "encodings"))]
    assert imported == []
