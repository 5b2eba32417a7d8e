"""Hostile names in everything that is printed: terminals, CSV, HTML, Prometheus, logs, commands to copy.

Each output is read by an independent parser, and must have the structure that it has for a harmless name.
"""

import contextlib
import csv
import io
import json
import logging
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import html
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from auditor.cli.output.layout import print_columns, print_line
from auditor.cli.output.tables import print_results, print_table
from auditor.config import settings as auditor_settings
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.errors import AuditorError, ModelLoadError, UsageError, describe, one_line
from auditor.evidence.keys import load_signer, make_key
from auditor.logs import _json, _Redacting, _Text
from auditor.machine.prometheus import _gauge
from auditor.records import AttackScore
from auditor.results.diff import Diff
from auditor.results.serialize import as_csv
from auditor.scheduling.webhook import describe_diff
from auditor.text.printable import FORMULAS, clean_line, find_unprintable
from auditor.web.audit.detail import repeat_command
from auditor.web.report import load_report, write_report
from auditor.zoo.hub.snapshots import local_snapshots
from auditor.zoo.local.zoo_file import read_zoo
from tests.factories.audits import audited
from tests.factories.command import run
from tests.factories.hostile import HOSTILE
from tests.factories.records import done_audit, result_row
from tests.web.serving import client

PARTS = (
    *HOSTILE.values(), "=1+1", "+", "-x", "@SUM(A1)", "＝1", "\t=1", "'", '"', "`", "$(touch a)", "${IFS}", ";", "&&",
    "\\", "\\n", "<b onclick=x>", "</td>", "<script>", "&lt;", "]]>", "{{7*7}}", "{%", "--", "#", ",", "[bold]", "[/]",
    "犬", "e\u0301", "\u200d", "\u200c", "a" * 300, " ", "", "\U0001f469", "%s", "%(x)s", "javascript:x", "../", "|",
)  # fmt: skip
names = st.lists(st.one_of(st.sampled_from(PARTS), st.text(max_size=4)), max_size=6).map("".join)


def storable_text(text: str) -> str:
    """The text without what no database stores."""
    return "".join(one for one in text if one != "\0" and not "\ud800" <= one <= "\udfff")


storable = names.map(storable_text)
fuzzed = settings(max_examples=100, deadline=None, database=None, derandomize=True)


def is_line(text: str) -> bool:
    """Whether a terminal or a log shows this as one line, with nothing hidden in it."""
    return not find_unprintable(text)


def lines_of(call: Callable[..., object], *arguments: Any) -> list[str]:
    """The lines that a call prints."""
    with contextlib.redirect_stdout(io.StringIO()) as stream:
        call(*arguments)
    return stream.getvalue().removesuffix("\n").split("\n")


@pytest.mark.long
@fuzzed
@given(names)
def test_a_terminal_gets_the_same_lines_as_for_a_harmless_name(name: str) -> None:
    def show(text: str) -> list[str]:
        rows = [(text, "1"), ("harmless", text)]
        found = result_row(model=f"local:{text}", flags=(text,), reason=text)
        failed = replace(found, status="failed")
        return [
            line
            for part in (
                lines_of(print_table, ("model", "gap"), rows),
                lines_of(print_columns, ("model", "gap"), rows),
                lines_of(print_line, f"model {text}", "red"),
                lines_of(print_results, [found, failed]),
            )
            for line in part
        ]

    lines = show(name)
    assert all(is_line(line) for line in lines)
    assert len(lines) == len(show("x" * max(1, len(name))))


@fuzzed
@given(st.lists(names, min_size=1, max_size=3))
def test_csv_has_its_cells_and_no_formula(texts: list[str]) -> None:
    rows = [{"model": text, "flags": [text, text], "note": {"a": text}, "gap": -0.5} for text in texts]
    written = as_csv(rows, ())
    table = list(csv.reader(io.StringIO(written)))
    assert [len(line) for line in table] == [4] * (len(texts) + 1)
    assert written.count("\n") == len(texts) + 1  # for programs that read lines
    for line in table[1:]:
        assert float(line[3]) == -0.5
        for cell in line[:3]:
            assert is_line(cell)
            assert not cell.strip().startswith(FORMULAS)


@fuzzed
@given(names, names)
def test_prometheus_reads_one_sample_with_the_label(label: str, other: str) -> None:
    class Metrics:
        def collect(self) -> list[Any]:
            return [_gauge("auditor_fuzz", "About.", ("worker", "queue"), [((label, other), 1.0)])]

    registry = CollectorRegistry()
    registry.register(Metrics())
    text = generate_latest(registry).decode()
    (family,) = text_string_to_metric_families(text)
    (sample,) = family.samples
    assert (sample.name, sample.value) == ("auditor_fuzz", 1.0)
    assert sample.labels == {"worker": clean_line(label), "queue": clean_line(other)}


@fuzzed
@given(names, names)
def test_a_log_record_is_one_json_line_or_one_indented_text(name: str, other: str) -> None:
    record = logging.LogRecord("auditor", logging.INFO, "f.py", 1, "model %s: %s", (name, other), None)
    record.model = name
    text = _Redacting(_json("scan")).format(record)
    assert is_line(text)
    found = json.loads(text)
    assert found["level"] == "INFO"
    assert found["logger"] == "auditor"
    first, *others = _Text("scan").format(record).split("\n")
    assert is_line(first)
    assert all(is_line(line) and line.startswith("    ") for line in others)


@fuzzed
@given(names)
def test_an_alert_has_one_line_for_each_of_its_news(name: str) -> None:
    text = describe_diff(Diff(None, 1, failed={name: name}, regressions={"m": [name]}), f"schedule {name}")
    lines = text.split("\n")
    assert len(lines) == 3
    assert all(is_line(line) for line in lines)


@fuzzed
@given(names)
def test_an_error_is_one_line(name: str) -> None:
    class CustomError(Exception):
        pass

    for text in (str(AuditorError(f"no model {name!s}")), one_line(name), describe(CustomError(name))):
        assert all(is_line(line) for line in text.split("\n"))
    assert "\n" not in one_line(name)
    assert "\n" not in describe(CustomError(name))


@fuzzed
@given(storable, names)
def test_a_command_to_copy_has_the_words_that_were_meant(name: str, attack: str) -> None:
    for found in (
        result_row(model=f"local:{name}", source="local", n=5, samples=5),
        result_row(model=f"local:{name}", n=5, extra_attacks=f"transfer from {attack.replace(', ', ' ')}"),
    ):
        words = shlex.split(repeat_command(found, {}))
        assert words[:2] == ["auditor", "scan"]
        assert words[words.index("--model") + 1] == name
        if found.extra_attacks:
            assert words[words.index("--transfer-from") + 1] == found.extra_attacks.removeprefix("transfer from ")


FOLDERS = ("plain", "two words", "$(touch canary)", "`touch canary`", "it's", 'a"b', "a;touch canary", "-x", "*")


def command_in(text: str, first: str) -> list[str]:
    """The words of the command between backticks, whose first word is this."""
    return shlex.split(text[text.index(f"`{first}") + 1 : text.rindex("`")])


@pytest.mark.parametrize("name", FOLDERS)
def test_a_command_about_a_folder_or_a_file_has_its_name(name: str, tmp_path: Path) -> None:
    place = tmp_path / name
    assert command_in(run("zoo", "init", place).stdout, "auditor")[-1] == str(place)
    with pytest.raises(UsageError, match=r"there is no zoo\.toml") as absent:
        read_zoo(tmp_path / "absent" / name)
    assert command_in(str(absent.value), "auditor")[-1] == str(tmp_path / "absent" / name)
    key = place / "a.key"
    make_key(key)
    key.chmod(0o644)
    with pytest.raises(UsageError, match="other users can read") as readable:
        load_signer(key)
    assert command_in(str(readable.value), "chmod") == ["chmod", "600", str(key)]
    done_audit(Store(open_database(auditor_settings().database_url)))
    missing = run("results", "plot", "a", "--adversarials", place, "-o", tmp_path / "a.png")
    assert (missing.exit_code, "found no such file" in missing.stderr) == (2, True)
    words = command_in(missing.stderr, "auditor")
    assert words[words.index("--save-adversarials") + 1] == str(place)


def test_a_folder_with_control_characters_is_printed_without_them(tmp_path: Path) -> None:
    written = run("zoo", "init", tmp_path / "a\x1b[2J\nb")
    assert written.exit_code == 0, written.stderr
    assert [is_line(line) for line in written.stdout.splitlines()] == [True]


@pytest.mark.parametrize("name", [name for name in HOSTILE.values() if "\0" not in name])
def test_a_snapshot_of_the_hub_in_a_folder_of_such_a_name_is_refused(name: str, tmp_path: Path) -> None:
    """The folder's name becomes the name of the model, which no database could store."""
    (folder := tmp_path / name.replace("\ud800", "\udcff")).mkdir()
    (folder / "config.json").write_text("{}")
    for place in (folder, tmp_path):
        with pytest.raises(ModelLoadError, match=r"expected text without control characters.*rename the folder"):
            local_snapshots(place)


def structure(page: str) -> set[tuple[str, tuple[str, ...]]]:
    """The elements of a page, with the names of their attributes."""
    return {
        (element.tag, tuple(sorted(element.attrib)))
        for element in html.document_fromstring(page).iter()
        if isinstance(element.tag, str)
    }


def links(page: str) -> list[str]:
    """Where a page leads to, and what it loads."""
    return [
        str(value)
        for element in html.document_fromstring(page).iter()
        for name, value in element.attrib.items()
        if name in ("href", "src", "action", "formaction", "srcset", "poster")
    ]


def texts_of(page: str) -> list[str]:
    """What a reader sees and what a tooltip says, without the line breaks of the markup itself."""
    found = html.document_fromstring(page)
    values = [str(value) for element in found.iter() for value in element.attrib.values()]
    return [clean for text in [*map(str, found.itertext()), *values] if (clean := re.sub(r"[\n\t]", " ", text))]


def pages_about(name: str, audit: int) -> dict[str, str]:
    """The addresses of all pages that show a model, and of those that repeat a request."""
    return {
        "model": f"/models/{quote(f'demo:{name}')}", "audit": f"/audits/{audit}", "scan": f"/scans/{audit}",
        "compare": f"/compare?model={quote(name)}", "filtered": f"/?model={quote(name)}",
        "board": "/", "scans": "/scans",
        "absent": f"/models/{quote(f'absent:{name}')}", "search": f"/zoo?match={quote(name)}",
        "sign in": f"/sign-in?next=/{quote(name)}",
    }  # fmt: skip


def store_named(name: str) -> int:
    """An audit whose model, classes, attack and note all have the name; the scan has the same number."""
    classes, superclasses = (name, "y", "z"), (name, name, "t")
    attack = AttackScore(attack=name, parameters={"eps": 0.1, "about": name}, n=3, broken=1, robust_accuracy=0.5,
                         seconds=0.1)  # fmt: skip
    return audited(name, 50, classes=classes, superclasses=superclasses, attacks=(attack,), notes=(name,),
                   training={"method": name}, architecture={"name": name})  # fmt: skip


@pytest.mark.long
def test_a_page_has_no_element_attribute_or_address_of_a_name() -> None:
    parts = [part for part in PARTS if part and storable_text(part) == part]
    hostile = ["".join(parts[first : first + 3]) for first in range(0, len(parts), 3)]
    harmless = {name: store_named(name) for name in ("plain", "other")}
    numbers = {name: store_named(name) for name in hostile}
    engine = open_database(auditor_settings().database_url)
    with client(per_minute=1_000_000) as server:

        def pages_of(name: str, number: int) -> dict[str, str]:
            found = {kind: server.get(path).text for kind, path in pages_about(name, number).items()}
            return {"report": write_report(load_report(engine, number))} | {
                kind: page for kind, page in found.items() if page
            }

        known = {
            one
            for name, number in harmless.items()
            for page in pages_of(name, number).values()
            for one in structure(page)
        }  # fmt: skip
        for name, number in numbers.items():
            for kind, page in pages_of(name, number).items():
                place = f"{kind} of {name!r}"
                assert structure(page) <= known, place
                assert not any(
                    re.match(r"\s*(javascript|data:text|//)", link, re.IGNORECASE) for link in links(page)
                ), place
                odd = [text for text in texts_of(page) if find_unprintable(text)]
                assert not odd, place
