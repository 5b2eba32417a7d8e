"""The names of the files in a folder of evidence, and the main figures that most of them repeat."""

from typing import Any, Final

ENVELOPE: Final = "evidence.dsse.json"
PUBLIC_KEY: Final = "key.pub"
SARIF: Final = "results.sarif"
JUNIT: Final = "junit.xml"
STANDARDS: Final = "standards.json"


def folder_name(audit_id: int) -> str:
    return f"audits/{audit_id}"


def record_name(audit_id: int) -> str:
    return f"{folder_name(audit_id)}/record.json"


def bom_name(audit_id: int) -> str:
    return f"{folder_name(audit_id)}/bom.cdx.json"


def card_name(audit_id: int) -> str:
    return f"{folder_name(audit_id)}/README.md"


def eval_results_name(audit_id: int) -> str:
    return f"{folder_name(audit_id)}/.eval_results/auditor.yaml"


def headline(figures: dict[str, Any]) -> dict[str, Any]:
    """The main figures under flat names, in every file the same."""
    clean, robust = figures["clean_accuracy"], figures["robust_accuracy"]
    flat = {
        "n": figures["n"],
        "clean_accuracy": clean["value"],
        "clean_low": clean["low"],
        "clean_high": clean["high"],
        "robust_accuracy": robust["value"],
        "robust_low": robust["low"],
        "robust_high": robust["high"],
    }
    if share := figures.get("certified_accuracy"):
        flat |= {
            "certified_accuracy": share["value"],
            "certified_low": share["low"],
            "certified_high": share["high"],
        }
    return flat
