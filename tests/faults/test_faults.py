"""The program behind the page of faults: what it compares, stores and writes."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, text

from auditor.db.session import HEAD, open_database
from auditor.db.store import Store
from benchmarks.faults import __main__ as program
from benchmarks.faults import page
from benchmarks.faults.reference import FIGURES, digests
from benchmarks.faults.upgrade import newest_commit_before
from tests.factories.databases import url  # noqa: F401
from tests.factories.records import done_audit, record

ROW: dict[str, Any] = {
    "scenario": "workers killed", "fault": "SIGKILL", "audits": 300, "samples": 16, "workers": 3, "seed": 0,
    "faults": 40, "done": 299, "failed": 1, "attempts": 310, "lost": 10, "seconds": 200.4, "equal": 299, "waiting": 0,
    "logged": {"waits for the database": 1234}, "notes": ["a note"], "wrong": [],
}  # fmt: skip


@pytest.fixture
def engine(url: str) -> Engine:  # noqa: F811
    made = open_database(url)
    yield made
    made.dispose()


def stored(file: Path, *changes: dict[str, Any]) -> list[str]:
    """The digests of audits with these changes, in a database of their own."""
    made = open_database(f"sqlite:///{file}")
    for number, change in enumerate(changes):
        done_audit(Store(made), str(number), **change)
    found = digests(made)
    made.dispose()
    return [found[f"demo:{number}"] for number in range(len(changes))]


def test_databases_of_both_kinds_have_the_same_digests(engine: Engine, tmp_path: Path) -> None:
    done_audit(Store(engine), "other", identity="j")
    done_audit(Store(engine))
    found = digests(engine)
    assert sorted(found) == ["demo:a", "demo:other"]
    assert [found["demo:a"]] == stored(tmp_path / "one.db", {})


def test_any_figure_and_any_verdict_changes_the_digest(tmp_path: Path) -> None:
    one = record()
    survived = one.verdicts.survived.copy()
    survived[1] = True
    clustering = replace(one.clusterings[0], matrix=np.nextafter(np.eye(3, dtype=np.float32), 2))
    changes: list[dict[str, Any]] = [
        {},
        {"robust_low": np.nextafter(0.1, 1)},
        {"identity": "j"},
        {"notes": ()},
        {"verdicts": replace(one.verdicts, survived=survived)},
        {"clusterings": (clustering,)},
        {"attacks": (replace(one.attacks[0], broken=2),)},
    ]
    first, *others, slower = stored(tmp_path / "one.db", *changes, {"seconds": 99.0})
    assert len({first, *others}) == len(changes)
    assert slower == first


def test_every_stored_figure_of_a_compared_table_is_compared() -> None:
    left_out = {
        table: {column.name for column in table.__table__.columns} - {*names} for table, names in FIGURES.items()
    }
    assert {name for names in left_out.values() for name in names if "accuracy" in name or "matrix" in name} == set()


def test_an_audit_without_verdicts_has_no_digest(tmp_path: Path) -> None:
    made = open_database(f"sqlite:///{tmp_path}/one.db")
    done_audit(Store(made))
    with made.begin() as connection:
        connection.execute(text("DELETE FROM verdicts"))
    assert digests(made) == {}
    made.dispose()


@pytest.mark.parametrize(
    ("change", "loaded"),
    [({}, True), ({"audits": 20}, False), ({"seed": 1}, False), ({"wrong": ["1 message is left"]}, False)],
)
def test_only_scenarios_of_the_same_options_that_went_well_are_not_repeated(
    tmp_path: Path, change: dict[str, Any], loaded: bool
) -> None:
    file = tmp_path / "row.json"
    same = {"audits": 300, "samples": 16, "workers": 3, "seed": 0, "wrong": []}
    assert program.load(file, same) is None
    program.save(file, ROW | change)
    assert program.load(file, same) == (ROW if loaded else None)


def test_the_page_keeps_what_others_wrote_and_shows_what_was_measured(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text("# The service\n\nBy hand.\n\n## Faults\n\nold\n")
    failed = ROW | {
        "scenario": "disk full",
        "audits": 20,
        "seconds": None,
        "wrong": ["2 messages are left in the queue"],
    }
    for rows in ([ROW], [ROW, failed]):
        page.write(file, rows)
        lines = file.read_text().splitlines()
        assert lines[:3] == ["# The service", "", "By hand."]
        assert "old" not in lines
        assert "| workers killed | 300 | 40 | 299 | 1 | 310 | 10 | 200 | 299 of 300 | 0 |" in lines
        assert "- **workers killed**: SIGKILL. a note; 1,234 waits for the database." in lines
        assert "3 workers with leases of 5 s audit tiny models under `quick` (16 images each)" in " ".join(lines)
        assert ("1 of 2 scenarios have been run with 300 audits" in " ".join(lines)) == (len(rows) == 2)
        assert max(len(line) for line in lines if not line.startswith("|")) <= 120
    assert "| disk full | 20 | 40 | 299 | 1 | 310 | 10 | – | 299 of 20 | 0 |" in lines
    assert "- disk full: 2 messages are left in the queue" in lines
    assert "Everything was as expected in all scenarios." not in lines


def test_a_page_without_the_heading_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text("# The service\n")
    with pytest.raises(SystemExit, match="expected a heading '## Faults', got none"):
        page.write(file, [ROW])
    assert file.read_text() == "# The service\n"


def test_each_scenario_has_a_name_and_a_sentence_of_its_own() -> None:
    assert len({kind.name for kind in program.SCENARIOS}) == len({kind.fault for kind in program.SCENARIOS}) == 14


def test_the_version_before_lacks_the_newest_migration() -> None:
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        pytest.skip("needs the history of a checkout")
    commit = newest_commit_before(HEAD)
    assert len(commit) == 40
