"""The figures as a table, and as a part of docs/service-measured.md."""

from typing import Any

BEGIN = "<!-- faults: written by `make faults` -->"
END = "<!-- end of faults -->"
COLUMNS = (
    "scenario",
    "faults",
    "done",
    "failed",
    "attempts",
    "lost",
    "seconds",
    "equal to the local run",
    "in the queue",
)


def sentence(row: dict[str, Any]) -> str:
    figures = [f"{name}: {cell}" for name, cell in zip(COLUMNS[1:], cells(row)[1:], strict=True)]
    logged = [f"{number} {name}" for name, number in row["logged"].items()]
    return f"{', '.join(figures + logged)}: {'; '.join(row['wrong']) or 'all as expected'}"


def cells(row: dict[str, Any]) -> list[str]:
    return [
        row["scenario"],
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
