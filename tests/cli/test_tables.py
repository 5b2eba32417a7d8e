"""Tables: as wide as the terminal, sorted and filtered in the same way by every command."""

import json
import re

import pytest
from sqlalchemy import text

from auditor.cli.listing import Condition, check_key, look_up
from auditor.cli.output import layout
from auditor.cli.output.layout import print_columns
from auditor.cli.output.progress import EstimatedEnd, shorten
from auditor.config import settings
from auditor.db.session import open_database
from auditor.db.tokens import add_token
from auditor.errors import UsageError
from tests.factories.audits import audited
from tests.factories.command import run

WIDTHS = [40, 60, 80, 120, 200]


@pytest.fixture
def _results() -> None:
    for number, name in enumerate(("short", "a-rather-long-name-of-a-model-with-many-parts", "middle")):
        audited(name, 60 + number)


@pytest.mark.usefixtures("_results")
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(
    "words", [("results", "list"), ("scans", "list"), ("zoo", "list", "demo"), ("schedule", "list")], ids=" ".join
)
def test_a_table_fits_and_says_what_it_left_out(
    words: tuple[str, ...], width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("schedule", "add", "nightly", "--cron", "0 2 * * *", "--", "scan", "demo", "--match", "at-*")
    complete = run(*words).stdout
    monkeypatch.setattr(layout, "terminal_width", lambda: width)
    monkeypatch.setattr("auditor.cli.output.tables.terminal_width", lambda: width)
    shown = run(*words).stdout
    names = re.findall(r"demo:[\w.-]+", complete)
    assert [name for name in names if name not in shown] == []  # names are never cut
    longest = max(map(len, names or [""])) + 4
    assert all(len(line) <= max(width, longest) for line in shown.splitlines()), shown
    if max(map(len, complete.splitlines())) > width + 8 and words[0] in ("results", "scans"):
        assert f"Left out to fit {width} columns" in " ".join(shown.split())


def test_rows_that_do_not_fit_become_blocks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(layout, "terminal_width", lambda: 24)
    omitted = print_columns(("#", "model", "gap", "flags"), [("1", "a" * 22, "0.5", "x, y")], optional=("gap",))
    assert omitted == ["gap"]
    assert capsys.readouterr().out == f"1 {'a' * 22}\n  flags: x, y\n"


def test_empty_columns_take_no_room(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(layout, "terminal_width", lambda: 80)
    print_columns(("model", "reason", "state"), [("m", "", "done")])
    assert capsys.readouterr().out == "model  state\nm      done\n"


@pytest.mark.parametrize(
    ("variables", "styled"),
    [({}, False), ({"FORCE_COLOR": "1"}, True), ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
     ({"FORCE_COLOR": "1", "TERM": "dumb"}, False)],
)  # fmt: skip
def test_colours_are_for_terminals_that_want_them(
    variables: dict[str, str], styled: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    layout.print_line("failed", "red")
    assert ("\x1b[31m" in capsys.readouterr().out) == styled


LISTS = {
    ("results", "list"): ("model", "robust_accuracy"),
    ("scans", "list"): ("scan", "seconds"),
    ("zoo", "list", "demo"): ("model", "eps"),
    ("tokens", "list"): ("name", "created_at"),
    ("trainings", "list"): ("model", "queued_at"),
    ("checkpoints", "list"): ("checkpoint", "created_at"),
    ("schedule", "list"): ("schedule", "cron"),
    ("workers",): ("worker", "seconds_silent"),
}


@pytest.mark.parametrize("words", [*LISTS, ("results", "export")], ids=" ".join)
def test_an_empty_csv_table_has_its_header(words: tuple[str, ...]) -> None:
    nothing = ["--filter", "model=nothing"] if words[0] == "zoo" else []
    key, other = LISTS.get(words, ("id", "flags"))
    result = run(*words, *nothing, "--format", "csv")
    assert (result.exit_code, result.stdout.count("\n")) == (0, 1), result.stderr
    assert {key, other} <= set(result.stdout.strip().split(","))
    if words != ("results", "export"):
        assert run(*words, *nothing, "--columns", f"{key},{other}", "--format", "csv").stdout == f"{key},{other}\n"


@pytest.mark.usefixtures("_results")
@pytest.mark.parametrize("words", LISTS, ids=" ".join)
def test_every_list_sorts_and_filters_alike(words: tuple[str, ...]) -> None:
    for name in ("ci", "laptop"):
        add_token(open_database(settings().database_url), name, "read", None)
        run("schedule", "add", name, "--cron", "0 2 * * *", "--", "scan", "demo")
    key, other = LISTS[words]

    def rows(*options: str) -> list[dict]:
        result = run(*words, *options, "--format", "json")
        assert result.exit_code == 0, result.stderr
        return json.loads(result.stdout)

    everything = rows("--limit", "100")
    backwards = [row[key] for row in rows("--sort", f"-{key}", "--limit", "100")]
    assert backwards == sorted((row[key] for row in everything), reverse=True)
    if everything:
        chosen = rows("--filter", f"{key}={everything[0][key]}")
        assert [row[key] for row in chosen] == [everything[0][key]]
        assert [list(row) for row in rows("--columns", f"{key},{other}", "--limit", "1")] == [[key, other]]
        assert run(*words, "--sort", "beauty").exit_code == run(*words, "--filter", "beauty=1").exit_code == 2
        limited = run(*words, "--limit", "1")
        assert ("rows are printed; --limit N prints more" in limited.stdout) == (len(everything) > 1)
        assert run(*words, "--format", "csv").stdout.startswith(next(iter(everything[0])))
    else:
        assert run(*words).stdout == ""


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (("n", "=", "256"), True), (("n", ">", "256"), False), (("n", ">=", "256"), True), (("n", "!=", "3"), True),
        (("model", "=", "demo:*"), True), (("model", "=", "demo"), False), (("reason", "=", ""), True),
        (("reason", ">", "a"), False), (("flags", "=", "zero_*"), True), (("flags", "!=", "zero_gradients"), False),
        (("enabled", "=", "true"), True), (("at", ">=", "2026-11-01"), True), (("at", "<", "2026-11-01"), False),
        (("before.gap", "<", "0.5"), True), (("before.other", "=", ""), True), (("gap", "<", "1"), False),
    ],
)  # fmt: skip
def test_conditions(condition: tuple[str, str, str], holds: bool) -> None:
    row = {
        "n": 256, "model": "demo:standard", "reason": None, "flags": ["zero_gradients", "x"], "enabled": True,
        "at": "2026-11-28T18:40:00+00:00", "before": {"gap": 0.25}, "gap": float("nan"),
    }  # fmt: skip
    assert Condition(*condition).holds(row) == holds


def test_an_unknown_key_has_a_suggestion() -> None:
    with pytest.raises(UsageError, match="no key 'modle'; did you mean model"):
        check_key("modle", [{"model": "m"}])
    with pytest.raises(UsageError, match=r"no key 'before.gpa'; did you mean before.gap"):
        check_key("before.gpa", [{"before": {"gap": 1}}])
    assert look_up({"before": None}, "before.gap") is None


@pytest.mark.parametrize(
    ("words", "message"),
    [(("--filter", "n"), "expected KEY=VALUE"), (("--filter", "n>many"), "--filter n: expected a number, got 'many'")],
)
@pytest.mark.usefixtures("_results")
def test_a_wrong_filter_is_one_error(words: tuple[str, ...], message: str) -> None:
    result = run("results", "list", *words)
    assert (result.exit_code, message in result.stderr) == (2, True)


@pytest.mark.parametrize(
    ("name", "width", "short"),
    [("demo:standard", 20, "demo:standard"), ("demo:at-cluster-eps0.10", 15, "demo:at…-eps0.10"[:7] + "…eps0.10")],
)
def test_long_names_keep_both_ends(name: str, width: int, short: str) -> None:
    assert len(shorten(name, width)) <= width
    assert shorten(name, width)[-6:] == name[-6:]
    assert shorten(name, width)[:4] == name[:4]
    assert shorten(name, width) == name or "…" in short


def test_the_end_of_a_scan_is_estimated_from_what_was_audited() -> None:
    now = 0.0
    end = EstimatedEnd(4, lambda: now)
    assert end.words() == ""
    end.add(reused=True)
    assert end.seconds() is None
    now = 60.0
    end.add(reused=False)
    assert end.seconds() == 120
    now = 90.0
    assert end.words() == "about 1 min 30 s left"
    end.add(reused=False)
    end.add(reused=False)
    assert end.words() == ""


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("results", "show", "m"), "'m' is ambiguous: demo:m, timm:m; give the name with its source"),
        (("results", "plot", "m", "-o", "x.png"), "'m' is ambiguous"),
        (("results", "compare", "m", "demo:m"), "'m' is ambiguous"),
        (("boost", "standrd"), "did you mean demo:standard"),
        (("adapt", "standrd"), "did you mean demo:standard"),
    ],
)
def test_one_resolution_of_names(words: tuple[str, ...], message: str) -> None:
    audited("m", 10)
    audited("n", 20)
    with open_database(settings().database_url).begin() as connection:
        connection.execute(text("UPDATE models SET name = 'timm:m', source = 'timm' WHERE name = 'demo:n'"))
    result = run(*words)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_bare_id_that_one_source_has_is_enough() -> None:
    result = run("boost", "standard", "--protocol", "screen")  # stops at the protocol, after the model was found
    assert "--protocol screen runs no attack" in result.stderr
