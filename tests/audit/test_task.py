"""What a task adds to its request: the number of models about which early answers are given."""

from dataclasses import replace

import numpy as np
import pytest

from auditor.audit.earlier import Earlier
from auditor.audit.identity import identity
from auditor.audit.task import with_tests
from auditor.records import AuditRequest, JobContext, Measurement
from tests.factories.records import entry


@pytest.mark.parametrize(("gate", "tests"), [({}, 1), ({"stop_at": 0.4}, 7), ({"stop_on_regression": True}, 7)])
def test_early_answers_are_about_all_models_of_the_scan(gate: dict, tests: int) -> None:
    request = Measurement(audit=AuditRequest(protocol="quick", **gate), samples=None)
    assert with_tests(request, JobContext(models=lambda: 7)).audit.tests == tests
    assert with_tests(request, JobContext()) == request


@pytest.mark.parametrize("gate", [{"stop_at": 0.4}, {"stop_on_regression": True}])
def test_their_number_is_part_of_the_identity(gate: dict) -> None:
    earlier = Earlier(1, np.ones(4, np.bool_)) if "stop_on_regression" in gate else None
    one = AuditRequest(protocol="quick", **gate)

    def name(request: AuditRequest) -> str:
        return identity(entry(), "w" * 64, request, None, None, earlier)

    assert len({name(replace(one, tests=tests)) for tests in (1, 2, 7)}) == 3
    assert name(replace(one, tests=7).complete) == name(one.complete)
