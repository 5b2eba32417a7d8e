"""JUnit XML: a suite for each model, with a case for its audit and one for each gate."""

from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from auditor.evidence.sarif import FIGURES, figures_of
from auditor.records.results import ResultRow, UnmetGate
from auditor.text.printable import clean_line

FLAGGED = "flagged: "


def write_junit(rows: Sequence[ResultRow], gates: Sequence[str] = (), unmet: Sequence[UnmetGate] = ()) -> bytes:
    """The results of a scan as JUnit XML: failed audits are errors, gates that were not met are failures.

    Args:
        gates: the options that set gates; each becomes a case of every model.
        unmet: the gates that were not met.
    """
    suites = [_suite(row, gates, unmet) for row in rows]
    totals = {name: count for name, count in _totals(suites).items() if name != "skipped"}  # Jenkins' schema has none
    root = ElementTree.Element("testsuites", {"name": "auditor"} | totals)
    root.extend(suites)
    ElementTree.indent(root)
    written: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return written + b"\n"


def read_models(content: bytes) -> dict[int, dict[str, Any]]:
    """Names, flags and figures of the models in a file of :func:`write_junit`, by audit.

    Raises:
        ElementTree.ParseError, ValueError, KeyError: it is no such file.
    """
    found: dict[int, dict[str, Any]] = {}
    for suite in ElementTree.fromstring(content).iter("testsuite"):
        values = {one.attrib["name"]: one.attrib["value"] for one in suite.iter("property")}
        flags = suite.findtext("system-out", "").removeprefix(FLAGGED)
        found[int(values["audit"])] = {
            "model": suite.attrib["name"],
            "flags": flags.split(", ") if flags else [],
            **{name: int(values[name]) if name == "n" else float(values[name]) for name in FIGURES if name in values},
        }
    return found


def _suite(row: ResultRow, gates: Sequence[str], unmet: Sequence[UnmetGate]) -> ElementTree.Element:
    seconds = f"{row.seconds or 0:.3f}"
    suite = ElementTree.Element("testsuite", name=clean_line(row.model))
    properties = ElementTree.SubElement(suite, "properties")
    facts = {"audit": row.id, "protocol": row.protocol, "dataset": row.dataset, "norm": row.norm, "eps": row.eps}
    for name, value in (facts | figures_of(row)).items():
        ElementTree.SubElement(properties, "property", name=name, value=clean_line(str(value)))
    case = ElementTree.SubElement(suite, "testcase", classname=clean_line(row.model), name="audit", time=seconds)
    if row.status == "failed":
        ElementTree.SubElement(case, "error", type="failed", message=clean_line(row.reason or "failed"))
    elif row.status != "done":
        ElementTree.SubElement(case, "skipped", type="skipped", message=f"the audit is {row.status}")
    mine = [one for one in unmet if one.audit == row.id]
    for gate in dict.fromkeys([*gates, *(one.gate for one in mine)]):
        case = ElementTree.SubElement(suite, "testcase", classname=clean_line(row.model), name=gate, time="0")
        if messages := [one.message for one in mine if one.gate == gate]:
            text = clean_line("; ".join(messages))
            ElementTree.SubElement(case, "failure", type="gate", message=text).text = text
        elif row.status != "done":
            ElementTree.SubElement(case, "skipped", type="skipped", message="there is no result")
    if row.flags:
        ElementTree.SubElement(suite, "system-out").text = f"{FLAGGED}{', '.join(row.flags)}"
    for name, value in _totals([suite]).items():
        suite.set(name, value)
    suite.set("time", seconds)
    return suite


def _totals(suites: Sequence[ElementTree.Element]) -> dict[str, str]:
    """The numbers of cases of some suites, by what became of them."""
    outcomes = {"tests": "testcase", "failures": "failure", "errors": "error", "skipped": "skipped"}
    return {name: str(sum(1 for suite in suites for _ in suite.iter(tag))) for name, tag in outcomes.items()}
