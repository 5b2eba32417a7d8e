"""The measures of a result that a zoo plot can set against each other, with their names."""

from dataclasses import dataclass

from auditor.records.matrices import GAP_FIELDS, MATRIX_NAMES
from auditor.records.results import MEASURES


@dataclass(frozen=True)
class Measure:
    """A numeric field of a result row.

    Attributes:
        name: the measure in a sentence and in a list.
        title: the title of its axis.
        share: whether its values are fractions from 0 to 1 that people read as percentages.
        least: the smallest width of its axis, so that tiny differences do not look large.
    """

    name: str
    title: str
    share: bool = False
    least: float = 0.2


PLOTTED: dict[str, Measure] = {
    "gap": Measure("gap", MEASURES["gap"]),
    "screen_score": Measure("screening score", MEASURES["screen_score"]),
    "margin": Measure("margin", MEASURES["margin"], least=0.02),
    "local_gap": Measure("local gap", MEASURES["local_gap"]),
    "certified_accuracy": Measure("certified accuracy", f"{MEASURES['certified_accuracy']}, %", share=True),
    "smoothed_certified_accuracy": Measure(
        "certified accuracy of the smoothed model", "certified accuracy of the smoothed model, %", share=True
    ),
    "clean_accuracy": Measure("clean accuracy", "clean accuracy, %", share=True),
    "robust_accuracy": Measure("robust accuracy", "robust accuracy, %, with 95 % interval", share=True),
    "claimed_clean_accuracy": Measure("claimed clean accuracy", "claimed clean accuracy, %", share=True),
    "claimed_robust_accuracy": Measure("claimed robust accuracy", "claimed robust accuracy, %", share=True),
    "p_value": Measure("p", "p-value of the gap"),
    "effective_rank": Measure("effective rank", "effective rank of C", least=1),
    "intra": Measure("intra", "mean correlation inside superclasses (intra)"),
    "inter": Measure("inter", "mean correlation across superclasses (inter)"),
    "silhouette": Measure("silhouette", "silhouette of the superclasses"),
    "rand_index": Measure("Rand index", "adjusted Rand index of the tree and the superclasses"),
    "cophenetic": Measure("cophenetic correlation", "cophenetic correlation of the tree"),
    "data_margin": Measure("margin at test images", "first-order margin at test images, in [0, 1] pixels", least=0.02),
} | {
    field: Measure(f"gap of {MATRIX_NAMES[kind]}", f"gap of {MATRIX_NAMES[kind]}")
    for kind, field in GAP_FIELDS.items()
    if kind != "weights"
}
