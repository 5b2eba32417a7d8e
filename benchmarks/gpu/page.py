"""The findings of a GPU check as Markdown, and as a section of docs/performance.md."""

from collections.abc import Sequence

from benchmarks.gpu.runner import Outcome

HEADING = "## On a GPU"


def render_section(outcomes: Sequence[Outcome], card: str, when: str, versions: str) -> str:
    """The section, from its heading on."""
    lines = [HEADING, "", f"`make gpu-check`, {when}, {card}, {versions}", ""]
    lines += ["| step | result | seconds |", "| --- | --- | --- |"]
    for outcome in outcomes:
        texts = [*(f"{_mark(finding.passed)}{finding.text}" for finding in outcome.findings)]
        if outcome.error is not None:
            texts.append(f"**ended early**: {outcome.error.strip().splitlines()[-1]}")
        if outcome.missed is not None:
            texts.append(f"not measured: {outcome.missed}")
        cell = "<br>".join(text.replace("|", "/") for text in texts) or "–"
        lines.append(f"| {outcome.title} | {cell} | {outcome.seconds:.0f} |")
    return "\n".join(lines) + "\n"


def _mark(passed: bool | None) -> str:
    return {True: "passed: ", False: "**failed**: ", None: ""}[passed]


def find_section(page: str) -> str:
    """The page's section about a GPU, or an empty text."""
    if f"\n{HEADING}\n" not in page:
        return ""
    rest = page.partition(f"\n{HEADING}\n")[2]
    return f"{HEADING}\n{rest.partition(chr(10) + '## ')[0].rstrip()}\n"


def put_section(page: str, section: str) -> str:
    """The page with this section in place of its own, or before its first section."""
    before = find_section(page)
    if before:
        return page.replace(before, section)
    head, mark, rest = page.partition("\n## ")
    return f"{head}\n{section}{mark}{rest}" if mark else f"{page.rstrip()}\n\n{section}"
