"""Published figures in words, for `results show`."""

from auditor.db.results import Detail
from auditor.records import Published
from auditor.records.corruptions import GENERATED, PUBLISHED, PUBLISHED_3D
from auditor.text.eps import format_threat
from auditor.text.numbers import percent, percent_number

FLAGS = {
    "clean_accuracy_mismatch": "clean accuracy",
    "robust_accuracy_mismatch": "robust accuracy",
}


_NORM_BALL = ", which says nothing of a norm ball"
_OTHERS = {
    PUBLISHED: "",
    GENERATED: " in published files, from which generated ones differ in strength",
    PUBLISHED_3D: " that are not the 3D ones",
}
"""What the published accuracy under corruptions says of the corruptions that were measured."""


def claim_lines(detail: Detail) -> list[tuple[str, str]]:
    """Names and sentences: what was published of this model, and where the measurement contradicts it."""
    published, row = detail.published, detail.row
    if published is None:
        return []
    lines = [("published", ", ".join(part for part in (published.paper, published.venue, published.link) if part))]
    lines += [("claimed accuracy", part) for part in _figures(published, row.norm)]
    if published.robust_accuracy is not None and row.claimed_robust_accuracy is None:
        lines.append(
            (
                "claimed accuracy",
                f"no claim about {format_threat(row.norm, row.eps)}, under which it was audited",
            )
        )
    for flag, name in FLAGS.items():
        if flag in row.flags:
            key = flag.removesuffix("_mismatch")
            lines.append(("mismatch", _mismatch(name, getattr(row, key), getattr(row, f"claimed_{key}"), row.n or 0)))
    return lines


def _figures(published: Published, norm: str) -> list[str]:
    """One sentence a figure; ``norm`` is that of the audit beside which they are shown."""
    figures = []
    if published.clean_accuracy is not None:
        figures.append(f"clean {percent(published.clean_accuracy, 2)}")
    under = f"under {format_threat(published.norm, published.eps)}" if published.norm and published.eps else ""
    doubt = "; marked unreliable by its publisher" if published.unreliable else ""
    for accuracy, attack in (
        (published.autoattack_accuracy, "AutoAttack"),
        (published.external_accuracy, "a better attack"),
    ):
        if accuracy is not None:
            figures.append(f"robust {percent(accuracy, 2)} {under} ({attack}{doubt})")
            doubt = ""
    if published.corruptions_accuracy is not None:
        figures.append(
            f"{percent(published.corruptions_accuracy, 2)} under common corruptions{_OTHERS.get(norm, _NORM_BALL)}"
        )
    return figures


def _mismatch(name: str, measured: float, claimed: float, n: int) -> str:
    more = "above" if measured > claimed else "below"
    difference = percent_number(abs(measured - claimed))
    return (
        f"the {name} measured, {percent(measured, 2)} of {n}, is {difference} points {more} the "
        f"{percent(claimed, 2)} that were published, more than chance allows (99.9 %): other weights, preprocessing or "
        f"data than the publisher's{', or attacks that are too weak for it' if more == 'above' else ''}"
    )
