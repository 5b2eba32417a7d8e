"""The printed zoo plot: both ends of the robust accuracy."""

import pytest

from auditor.plots import ZooPoint, draw_zoo
from auditor.records.certificates import NO_BOUND


def points(*certified: float | None) -> list[ZooPoint]:
    return [
        ZooPoint(f"m{k}", "standard", x=k / 10, robust=0.5, low=0.4, high=0.6, flagged=False, certified=share)
        for k, share in enumerate(certified)
    ]


@pytest.mark.parametrize(
    ("certified", "ends", "is_silent"),
    [((None, None), [], False), ((0.25, None), [25.0], False), ((0.25, 0.0), [25.0, 0.0], True)],
)
def test_lines_go_down_to_the_certified_accuracy(certified: tuple, ends: list, is_silent: bool) -> None:
    (axes,) = draw_zoo("title", "statement", "gap", points(*certified)).axes
    segments = [part.get_segments()[0] for part in axes.collections if part.get_linestyle()[0][1] is not None]
    assert [float(segment[:, 1].min()) for segment in segments] == ends
    assert {float(segment[:, 1].max()) for segment in segments} <= {50.0}
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert ("certified, the lower end" in labels) == bool(ends)
    assert any(NO_BOUND in text.get_text() for text in axes.texts) == is_silent
