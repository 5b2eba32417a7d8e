"""What is wrong with a body, a query or a path is said in plain words: the field, what it expects, what it got."""

import re
from typing import Any
from urllib.parse import quote

import pytest

from auditor.errors import ConflictError
from tests.web.serving import client, token

GOOD: dict[str, dict[str, Any]] = {
    "/scans": {"source": "demo"},
    "/boosts": {"model": "demo:standard"},
    "/schedules/nightly": {"cron": "0 2 * * *", "scan": {"source": "demo"}},
}
VALUES: tuple[Any, ...] = (
    None, [], {}, "", "x", "x" * 4000, "a\0b", -1, 0, 1.5, 10**30, True, [1], {"a": 1}, ["x" * 300], ["x"] * 300,
)  # fmt: skip
QUERIES = ("", "x", "-1", "0", "1e400", "nan", "9" * 30, "1.5", "x" * 4000, "tru", "2026-13-01")
RAW = (
    "Input should", "Field required", "Value error", "Extra inputs", "String should", "List should", "valid string",
    "valid integer", "unable to", "JSON decode", "parsing the body", "Invalid value", "is not a valid", "ctx",
)  # fmt: skip


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Any:
    made = client(per_minute=10**7)
    made.headers.update(token("admin"))

    class NothingStarts:
        def start(self, *_: object) -> None:
            raise ConflictError("nothing starts here")

        start_scan = start_boost = start

    monkeypatch.setattr(made.app.state, "background", NothingStarts)
    return made


def problem(answer: Any) -> str:
    assert answer.status_code in (400, 422), answer.text
    detail = answer.json()["detail"]
    assert not [words for words in RAW if words in detail], detail
    assert "\n" not in detail
    return detail


def send(server: Any, path: str, **options: Any) -> Any:
    return server.request("PUT" if "schedules" in path else "POST", f"/api/v1{path}", **options)


@pytest.mark.long
@pytest.mark.parametrize("path", GOOD)
def test_every_field_of_every_body_says_what_it_expects(path: str, server: Any) -> None:
    shape = {"/scans": "ScanBody", "/boosts": "BoostBody", "/schedules/nightly": "ScheduleBody"}[path]
    names = list(server.app.openapi()["components"]["schemas"][shape]["properties"])
    refused = set()
    for name in names:
        for value in VALUES:
            answer = send(server, path, json=GOOD[path] | {name: value})
            if answer.status_code in (200, 409):
                continue
            if re.match(rf"{name}(\.\w+)*: ", problem(answer)):
                refused.add(name)
                assert re.search(r": (.*expected .+, got .+|expected a value|there is no such field)$", problem(answer))
    assert refused == set(names)


BODIES: tuple[tuple[Any, str], ...] = (
    ({}, "source: expected a value"),
    ({"source": "demo", "sampels": 3}, "sampels: there is no such field"),
    (
        {"source": "local"},
        "source: expected 'demo', 'robustbench', 'timm', 'torchvision', 'hub' or 'checkpoint', got 'local'",
    ),
    ({"source": "demo", "samples": "twenty"}, "samples: expected a whole number, got 'twenty'"),
    ({"source": "demo", "samples": 2.5}, "samples: expected a whole number, got 2.5"),
    ({"source": "demo", "samples": 0}, "samples: expected 1 or more, got 0"),
    ({"source": "demo", "eps": 0}, "eps: expected more than 0, got 0"),
    ({"source": "demo", "eps": None, "triage": 2}, "triage: expected 1 or less, got 2"),
    ({"source": "demo", "force": None}, "force: expected true or false, got null"),
    ({"source": "demo", "models": "x"}, "models: expected a list, got 'x'"),
    ({"source": "demo", "models": ["a", 1]}, "models.1: expected text, got 1"),
    ({"source": "demo", "models": ["a"] * 201}, "models: expected at most 200 values, got 201"),
    ({"source": "demo", "match": "x" * 300}, "match: expected at most 200 characters, got 300"),
    ({"source": "demo", "match": "a\0b"}, "match: expected text without NUL characters, got 'a b'"),
    ({"source": "demo", "device": "tpu"}, "device: expected cpu, cuda or cuda:N, got 'tpu'"),
    ({"source": "demo", "device": "cpu\n"}, "device: expected cpu, cuda or cuda:N, got 'cpu '"),
    ([], "body: expected an object, got []"),
    ("x", "body: expected an object, got 'x'"),
    (b"{", "body: expected JSON; it is malformed at character 1"),
    (b"\xff", "body: expected JSON in UTF-8"),
    (b"[" * 60_000, "body: expected JSON in UTF-8"),
)  # fmt: skip


def test_bodies(server: Any) -> None:
    for body, detail in BODIES:
        raw = {"content": body, "headers": {"Content-Type": "application/json"}} if isinstance(body, bytes) else {}
        assert problem(send(server, "/scans", **raw or {"json": body})) == detail


def test_a_model_and_a_name_are_asked_for_in_words(server: Any) -> None:
    wanted = "model: expected demo:, robustbench:, timm:, torchvision:, hub: or checkpoint: with a name, got 'standard'"
    assert problem(send(server, "/boosts", json={"model": "standard"})) == wanted
    named = problem(send(server, "/schedules/-x", json=GOOD["/schedules/nightly"]))
    assert named == (
        "name: expected up to 100 letters, digits, dots, dashes and underscores, first a letter or digit, got '-x'"
    )


@pytest.mark.long
def test_every_parameter_says_what_it_expects(server: Any) -> None:
    refused = set()
    for path, operations in server.app.openapi()["paths"].items():
        parameters = operations.get("get", {}).get("parameters", [])
        for wrong in [one for one in parameters if not path.endswith(("/events", "/weights"))]:
            for value in QUERIES:
                inside = {one["name"]: "weights" if one["name"] == "kind" else "1" for one in parameters}
                place = path
                query = {one["name"]: "a" for one in parameters if one["required"] and one["in"] == "query"}
                if wrong["in"] == "query":
                    query[wrong["name"]] = value
                else:
                    inside[wrong["name"]] = value
                for name, part in inside.items():
                    place = place.replace(f"{{{name}}}", quote(part, safe=""))
                answer = server.get(place, params=query)
                if answer.status_code == 422:
                    detail = problem(answer)
                    refused |= {detail.partition(":")[0]} & {one["name"] for one in parameters}
                else:
                    assert answer.status_code in (200, 307, 404), (place, query)
    assert refused >= {"limit", "number", "kind", "sort", "protocol", "norm", "eps", "since", "flagged", "state", "a"}


def test_a_norm_is_asked_for_in_one_list(server: Any) -> None:
    wanted = "norm: expected 'Linf', 'L2', 'L1', 'corruptions', 'corruptions_generated' or 'corruptions_3d', got 'x'"
    assert problem(server.get("/api/v1/results?norm=x")) == wanted


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/?sort=x", "sort: expected &#39;model&#39;, "),
        ("/?page=0", "page: expected 1 or more, got &#39;0&#39;"),
        ("/zoo?x=x", "x: expected &#39;"),
        ("/zoo?x_from=nan", "x_from: expected a finite number, got &#39;nan&#39;"),
        ("/audits/x", "number: expected a whole number, got &#39;x&#39;"),
        ("/boosts?cursor=" + "x" * 2000, "cursor: expected at most 1000 characters, got 2000"),
    ],
)
def test_pages_say_it_in_the_same_words(path: str, words: str, server: Any) -> None:
    answer = server.get(path)
    assert answer.status_code == 422
    assert words in answer.text
    assert not [raw for raw in RAW if raw in answer.text]
