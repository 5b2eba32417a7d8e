"""Free text of other people: what is taken out of it, and that no output lets it through."""

import csv
import io
import logging
from typing import Any

import pytest

from auditor.cli.output.layout import print_columns, print_line
from auditor.cli.output.tables import print_table
from auditor.logs import _Text
from auditor.machine.prometheus import _gauge
from auditor.results.diff import Diff
from auditor.results.serialize import as_csv
from auditor.scheduling.webhook import describe_diff
from auditor.text.printable import check_printable, clean_cell, clean_line, clean_lines
from tests.factories.hostile import HOSTILE

FINE = [
    "plain",
    "naïve café",
    "犬",
    "سگ\u200cها",
    "👩\u200d🔬",
    "ε ≤ 8/255 – “quoted”",
    "",
    "a  b",
    "non\u00a0breaking",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_control_characters_are_named_and_taken_out(name: str) -> None:
    text = HOSTILE[name]
    with pytest.raises(ValueError, match=rf"without control characters, got U\+{ord(text[1]):04X} in 'a ") as caught:
        check_printable(text)
    assert str(caught.value).isprintable()
    assert clean_line(text) == f"a {text[2:]}"


@pytest.mark.parametrize("text", FINE)
def test_text_of_any_script_stays(text: str) -> None:
    assert check_printable(text) == clean_line(text) == clean_lines(text) == clean_cell(text) == text


def test_lines_stay_lines() -> None:
    assert clean_lines("one\r\ntwo\n\tthree\x1b[0m\rfour") == "one\ntwo\n    three [0m four"


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"), ("+1", "'+1"), ("-1", "'-1"), ("@SUM(A1)", "'@SUM(A1)"), ("\t=1", "' =1"),
        ("\r=1", "' =1"), ("\n=1", "' =1"), (" =1", "' =1"), ("＝1", "'＝1"), ("＠x", "'＠x"),
        ("-cmd|' /C calc'!A0", "'-cmd|' /C calc'!A0"),
        ("a=1", "a=1"), ("1-2", "1-2"), ("a\x1b[0m", "a [0m"), ("", ""),
        (-0.5, -0.5), (-3, -3), (None, None), (True, True), (float("-inf"), float("-inf")),
    ],
)  # fmt: skip
def test_text_is_no_formula_and_numbers_stay_numbers(value: Any, cell: Any) -> None:
    assert clean_cell(value) == cell
    assert type(clean_cell(value)) is type(cell)


def test_a_csv_file_has_its_rows_and_no_formula() -> None:
    rows = [
        {"model": "=cmd()", "gap": -0.25, "flags": ["-a", "b"], "about": {"x": 1}, "note": "one\nforged,1"},
        {"model": "fine", "gap": 0.5, "flags": [], "about": {}, "note": None},
    ]
    table = list(csv.reader(io.StringIO(as_csv(rows, ()))))
    assert table == [
        ["model", "gap", "flags", "about", "note"],
        ["'=cmd()", "-0.25", "'-a; b", '{"x": 1}', "one forged,1"],
        ["fine", "0.5", "", "{}", ""],
    ]
    assert as_csv([], ["model", "gap"]) == "model,gap\n"


@pytest.mark.parametrize("forced", [False, True], ids=["plain", "styled"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_table_has_as_many_lines_as_rows(
    name: str, forced: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if forced:
        monkeypatch.setenv("FORCE_COLOR", "1")
    print_table(("model", "description"), [(HOSTILE[name], "[bold]x[/bold]"), ("fine", HOSTILE[name])])
    print_line(f"model: {HOSTILE[name]}", "red")
    lines = capsys.readouterr().out.removesuffix("\n").split("\n")
    assert len(lines) == 4
    assert "[bold]x[/bold]" in lines[1]
    shown = "".join(lines).replace("\x1b[1m", "").replace("\x1b[31m", "").replace("\x1b[0m", "")  # the styles
    assert clean_line(shown) == shown


def test_columns_stay_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    print_columns(("a", "b"), [("x\x1b[31m", "1"), ("longer name", "2")], right=("b",))
    assert [len(line) for line in capsys.readouterr().out.splitlines()] == [14, 14, 14]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_log_record_begins_one_line(name: str) -> None:
    record = logging.LogRecord("auditor", logging.INFO, "f.py", 1, "model %s failed", (HOSTILE[name],), None)
    record.model = HOSTILE[name]
    text = _Text("scan").format(record)
    assert [line[0] for line in text.split("\n")[1:]] == [" "] * text.count("\n")
    assert all(clean_line(line) == line for line in text.split("\n"))


@pytest.mark.parametrize("name", HOSTILE)
def test_an_alert_has_as_many_lines_as_it_has_news(name: str) -> None:
    text = HOSTILE[name]
    said = describe_diff(Diff(None, 1, failed={text: text}, regressions={"m": [text]}), f"schedule {text}")
    assert len(said.split("\n")) == 3
    assert all(clean_line(line) == line for line in said.split("\n"))


def test_labels_of_metrics_are_one_line() -> None:
    (sample,) = _gauge("auditor_x", "About.", ("worker",), [(("a\nb\x1b",), 1.0)]).samples
    assert sample.labels == {"worker": "a b "}
