"""Paths in the commands of schedules: made absolute, missing ones named, hidden from readers."""

from pathlib import Path

import click
import pytest

from auditor.cli.scan import command as scan
from auditor.cli.schedule import check_remote_scan
from auditor.config import settings
from auditor.db.schedules import add_schedule, claim_run, end_run, find_schedule
from auditor.db.session import open_database
from auditor.errors import UsageError
from auditor.records.schedules import ScheduleRow
from auditor.scheduling.due import PATH_OPTIONS, hide_paths, next_due
from tests.factories.command import run
from tests.web.serving import client, token


def add(*words: str) -> tuple[int, str]:
    result = run("schedule", "add", "nightly", "--replace", "--cron", "0 2 * * *", "--", "scan", *words)
    return result.exit_code, result.stderr


def stored() -> tuple[str, ...] | None:
    return find_schedule(open_database(settings().database_url), "nightly").command


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cifar10").mkdir()
    code, said = add("robustbench", "cifar10", "--data=cifar10", "--dataset", "cifar10", "--save-adversarials", "kept")
    assert code == 0, said
    assert "warning" not in said
    assert stored() == (
        "scan", "robustbench", f"{tmp_path}/cifar10", f"--data={tmp_path}/cifar10", "--dataset", "cifar10",
        "--save-adversarials", f"{tmp_path}/kept",
    )  # fmt: skip


@pytest.mark.parametrize("words", [("demo", "--data", "gone"), ("local", "gone"), ("demo", "--data=/nowhere/gone")])
def test_a_missing_path_is_named(words: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = add(*words)
    assert code == 0
    place = "/nowhere/gone" if "nowhere" in words[-1] else str(tmp_path / "gone")
    assert f"warning: {place} does not exist on this machine; it is looked up on the machine" in said
    assert place in " ".join(stored() or ())


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("demo", "--data", "gone", "--samples", "many"), "--samples: expected a whole number, got 'many'"),
        (("demo", "--data", "gone", "--model", "no-such"), "no model named 'no-such'"),
        (("local", "."), "zoo.toml"),
    ],
)
def test_a_path_does_not_hide_another_mistake(
    words: tuple[str, ...], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = add(*words)
    assert code == 2
    assert reason in said


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("demo --threat-model corruptions --curve", "--curve has no meaning for demo:"),
        ("demo --threat-model corruptions --eps 0.1", "measures corruptions, which have no norm and no radius"),
        ("demo --threat-model corruptions_3d", "3D corruptions cannot be generated"),
        ("demo --threat-model corruptions --save-adversarials kept", "--save-adversarials has no meaning for demo:"),
        ("demo --norm L2", "--norm L2 needs --eps"),
        ("demo --eps 2", "expected an Linf radius of at most 1"),
        ("demo --certify smoothing", "--certify smoothing does not know the norm Linf"),
        (
            "robustbench --match cifar10/corruptions/* --targeted superclass",
            "--targeted has no meaning for",
        ),
    ],
)
def test_what_the_threat_model_forbids_is_refused_when_it_is_added(
    words: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = add(*words.split())
    assert code == 2
    assert reason in said
    if "--save-adversarials" not in words:
        with pytest.raises(UsageError, match=reason):
            check_remote_scan(words.split())


def test_a_schedule_of_a_mixed_zoo_says_what_some_models_go_without() -> None:
    code, said = add("robustbench", "--dataset", "cifar10", "--protocol", "strong")
    assert code == 0, said
    assert "--protocol strong has no meaning under corruptions: " in said


def test_every_path_of_a_scan_is_hidden() -> None:
    options = [one for one in scan.params if isinstance(one, click.Option) and isinstance(one.type, click.Path)]
    assert {name for one in options for name in one.opts} | {"--attack"} == set(PATH_OPTIONS)
    words = ("auditor", "scan", "local", "zoo", "--data", "x", "--save-adversarials=y", "--eps", "8/255", "--x=/a")
    row = ScheduleRow(id=1, name="n", cron="0 2 * * *", command=words, enabled=True, problem=None, next=None, last=None)
    assert hide_paths(row).command == (
        "auditor", "scan", "local", "…", "--data", "…", "--save-adversarials=…", "--eps", "8/255", "--x=…",
    )  # fmt: skip


def test_only_admins_read_paths() -> None:
    engine = open_database(settings().database_url)
    add_schedule(engine, "nightly", "0 2 * * *", ["scan", "local", "/srv/secret", "--data", "/srv/hidden"])
    schedule = find_schedule(engine, "nightly")
    ran = claim_run(engine, schedule, next_due(schedule.cron, schedule.changed_at))
    end_run(engine, ran.claim, "failed", "no such folder: /srv/secret/zoo.toml")
    pages = ("/schedules", f"/schedules/{schedule.id}", "/api/v1/schedules")
    server = client()
    for headers in ({}, token("read"), token("scan")):
        for page in pages:
            text = server.get(page, headers=headers).text
            assert "nightly" in text
            assert "/srv" not in text, page
    assert "/srv/secret" in server.get("/api/v1/schedules", headers=token("admin")).text
    server.headers["Origin"] = "http://testserver"
    secret = token("admin", "other")["Authorization"].removeprefix("Bearer ")
    assert server.post("/sign-in", data={"token": secret}).status_code == 303
    assert all("/srv/secret" in server.get(page).text for page in pages[:2])


@pytest.mark.parametrize("command", ["scan local /srv/zoo", "scan demo --data /etc/passwd", "scan demo --data nowhere"])
def test_over_http_a_path_is_refused_before_it_is_looked_for(command: str) -> None:
    server = client()
    server.headers["Origin"] = "http://testserver"
    secret = token("admin")["Authorization"].removeprefix("Bearer ")
    assert server.post("/sign-in", data={"token": secret}).status_code == 303
    answer = server.post("/schedules", data={"name": "n", "cron": "0 2 * * *", "command": command})
    assert answer.status_code == 422
    assert "cannot be scheduled over HTTP" in answer.text


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("runs", "{folder}/runs"),
        ("./my runs", "{folder}/my runs"),
        ("file:///srv/my%20runs", "/srv/my runs"),
        ("sqlite:///nights.db", "sqlite:///{folder}/nights.db"),
        ("sqlite:////srv/nights.db", "sqlite:////srv/nights.db"),
    ],
)
def test_the_place_of_an_mlflow_store_becomes_absolute(
    given: str, kept: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    expected = kept.format(folder=tmp_path)
    for words, stored_words in [
        (("--mlflow", given), ("--mlflow", expected)), ((f"--mlflow={given}",), (f"--mlflow={expected}",))
    ]:  # fmt: skip
        code, said = add("demo", *words)
        assert code == 0, said
        assert stored() == ("scan", "demo", *stored_words)


@pytest.mark.parametrize("place", ["http://me:secret@host", "https://host/?token=secret", "ftp://host"])
def test_an_address_of_mlflow_that_is_refused_at_night_is_refused_when_it_is_added(place: str) -> None:
    for words in (("--mlflow", place), (f"--mlflow={place}",)):
        code, said = add("demo", *words)
        assert code == 2
        assert "--mlflow: expected " in said
        assert "secret" not in said
        with pytest.raises(UsageError, match="--mlflow: expected "):
            check_remote_scan(["demo", *words])
    assert run("schedule", "list", "--format", "json").stdout.strip() == "[]"


@pytest.mark.parametrize("place", ["runs", "/srv/runs", "file:///srv/runs", "sqlite:///nights.db"])
def test_over_http_a_schedule_logs_only_to_servers_of_mlflow(place: str) -> None:
    check_remote_scan(["demo", "--mlflow", "http://127.0.0.1:5000"])
    with pytest.raises(UsageError, match="'--mlflow' names files or code of a machine"):
        check_remote_scan(["demo", "--mlflow", place])


@pytest.mark.parametrize("store", ["runs", "sqlite:///nights.db"])
def test_the_place_of_an_mlflow_store_is_hidden(store: str) -> None:
    assert add("demo", "--mlflow", store)[0] == 0
    row = find_schedule(open_database(settings().database_url), "nightly")
    shown = ScheduleRow(
        id=1, name="n", cron="* * * * *", command=("auditor", *(row.command or ())), enabled=True, problem=None,
        next=None, last=None,
    )  # fmt: skip
    assert hide_paths(shown).command == ("auditor", "scan", "demo", "--mlflow", "…")
