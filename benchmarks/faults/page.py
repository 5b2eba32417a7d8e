"""The figures as a table, and as the last part of docs/service-measured.md."""

import textwrap
from pathlib import Path
from typing import Any

from benchmarks.faults.stage import LEASE

HEADING = "## Faults"
INTRODUCTION = """\
`make faults` measures this part and writes it; do not edit it. In each scenario {workers} workers with leases of
{lease:g} s audit tiny models under `quick` ({samples} images each), with PostgreSQL and Redis of the scenario's own,
while one kind of fault happens again and again.
"""
FEWER = """\
{full} of {all} scenarios have been run with {most} audits. The others have figures of a trial with fewer audits,
some with shorter pauses between faults, which `make faults` replaces.
"""
EXPLANATION = """\
A lost attempt ended without a result, and its audit was measured again. An audit is equal to the local run if its
scores, matrices, accuracies, intervals, verdicts of each image, digests and identity are all equal, bit for bit. Each
scenario also checks that there is one scan, that no attack's saved progress is left, and that no worker has ended by
itself. The seconds include the start of the workers, and the time in which services are away.
"""
COLUMNS = (
    "scenario", "audits", "faults", "done", "failed", "attempts", "lost attempts", "seconds", "equal to the local run",
    "left in the queue",
)  # fmt: skip


def cells(row: dict[str, Any]) -> list[str]:
    return [
        row["scenario"],
        str(row["audits"]),
        str(row["faults"]),
        str(row["done"]),
        str(row["failed"]),
        str(row["attempts"]),
        str(row["lost"]),
        "–" if row["seconds"] is None else f"{row['seconds']:.0f}",
        f"{row['equal']} of {row['audits']}",
        str(row["waiting"]),
    ]


def table(rows: list[dict[str, Any]]) -> str:
    """The figures in Markdown, one line for each scenario."""
    lines = [COLUMNS, ("---", *("---:" for _ in COLUMNS[1:])), *(cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def sentence(row: dict[str, Any]) -> str:
    """One scenario in one line, for the terminal."""
    figures = [f"{name}: {cell}" for name, cell in zip(COLUMNS[1:], cells(row)[1:], strict=True)]
    return f"{', '.join(figures)}; {logged(row)}; {'; '.join(row['wrong']) or 'as expected'}"


def logged(row: dict[str, Any]) -> str:
    """What the workers logged."""
    return ", ".join(f"{number:,} {name}" for name, number in row["logged"].items())


def section(rows: list[dict[str, Any]]) -> str:
    """The part of the page, with its heading, from the rows of all scenarios."""
    most = max(row["audits"] for row in rows)
    full = sum(row["audits"] == most for row in rows)
    wrong = [f"- {row['scenario']}: {line}" for row in rows for line in row["wrong"]]
    details = [f"- **{row['scenario']}**: {row['fault']}. {'; '.join([*row['notes'], logged(row)])}." for row in rows]
    parts = [
        HEADING,
        fill(INTRODUCTION.format(**rows[0], lease=LEASE)),
        *([fill(FEWER.format(full=full, all=len(rows), most=most))] if full < len(rows) else []),
        table(rows),
        fill(EXPLANATION),
        "Not as expected:" if wrong else "Everything was as expected in all scenarios.",
        *(["\n".join(map(fill, wrong))] if wrong else []),
        "What one fault is, and what the workers logged:",
        "\n".join(map(fill, details)),
    ]
    return "\n\n".join(parts)


def fill(text: str) -> str:
    """Wrap a paragraph or an item of a list."""
    indent = "  " if text.startswith("- ") else ""
    return textwrap.fill(text, 120, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)


def write(page: Path, rows: list[dict[str, Any]]) -> None:
    """Replace the last part of a page."""
    before, heading, _ = page.read_text().partition(f"\n{HEADING}\n")
    if not heading:
        raise SystemExit(f"{page}: expected a heading {HEADING!r}, got none")
    page.write_text(f"{before}\n{section(rows)}\n")
