"""Each cause of an error has one status code."""

from http import HTTPStatus

import pytest

from auditor import errors
from auditor.errors import AuditorError, EnvironmentUnusableError, ExitCode, NotFoundError, UsageError
from auditor.web.errors import as_invalid_request, status_of
from tests.web.serving import client


@pytest.mark.long
@pytest.mark.parametrize(
    ("cause", "status", "exit_code"),
    [
        (errors.NotFoundError, 404, ExitCode.USAGE),
        (errors.ConflictError, 409, ExitCode.USAGE),
        (errors.UsageError, 422, ExitCode.USAGE),
        (errors.InputError, 422, ExitCode.FAILED),
        (errors.EnvironmentUnusableError, 503, ExitCode.UNUSABLE),
        (errors.DataError, 503, ExitCode.UNUSABLE),
        (errors.ModelLoadError, 500, ExitCode.FAILED),
        (errors.MemoryLimitError, 500, ExitCode.FAILED),
        (errors.GateError, 500, ExitCode.GATE),
    ],
)
@pytest.mark.parametrize("path", ["/api/v1/scans", "/scans"])
def test_status_codes(
    cause: type[AuditorError], status: int, exit_code: ExitCode, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise cause("the cause")

    monkeypatch.setattr("auditor.web.api.scans.list_scans", fail)
    monkeypatch.setattr("auditor.web.pages.scans.list_scans", fail)
    assert (status_of(cause("the cause")), cause.exit_code) == (status, exit_code)
    answer = client().get(path)
    assert answer.status_code == status
    assert "the cause" in answer.text
    assert HTTPStatus(status).phrase in answer.text


def test_exit_codes_are_those_of_the_command_line() -> None:
    assert {code.name: int(code) for code in ExitCode} == {
        "OK": 0, "FAILED": 1, "USAGE": 2, "UNUSABLE": 3, "GATE": 4, "INTERRUPTED": 130,
    }  # fmt: skip


def test_what_a_body_names_is_invalid_and_not_a_missing_url() -> None:
    with pytest.raises(UsageError, match="no model") as raised, as_invalid_request(NotFoundError):
        raise NotFoundError("no model named 'x'")
    assert status_of(raised.value) == 422
    with pytest.raises(EnvironmentUnusableError), as_invalid_request(NotFoundError):
        raise EnvironmentUnusableError("no data")
