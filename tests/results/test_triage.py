"""What a triage says of itself."""

import pytest

from auditor.records.results import ResultRow
from auditor.results.triage import count_triage
from tests.factories.records import result_row

DRAWN, NOT_DRAWN = "0" * 64, "f" * 64


def row(
    score: float | None, robust: float | None, clean: float = 0.8, status: str = "done", identity: str = DRAWN
) -> ResultRow:
    return result_row(
        screen_score=score, robust_accuracy=robust, clean_accuracy=clean, status=status, identity=identity
    )


def test_rows_are_counted_by_score_and_by_whether_they_were_attacked() -> None:
    rows = [
        row(0.9, 0.5), row(None, 0.1), row(0.2, 0.0), row(0.1, 0.4), row(0.1, 0.39), row(0.0, None), row(0.19, None),
        row(0.1, None, status="failed"),
    ]  # fmt: skip
    found = count_triage(rows, 0.2)
    assert (found.above, found.drawn, found.robust, found.left) == (3, 2, 1, 2)
    first, second = found.lines()
    assert first.startswith(
        "triage at 0.2: 5 of 7 models attacked, 3 with a higher score or none, 2 drawn from the 4 below"
    )
    # The Wilson interval of 1 of 2: 9.5 % to 90.5 %.
    assert "1 of those 2" in second
    assert "9 % to 91 %" in second
    assert "0 to 2 models" in second


def test_models_that_another_scan_attacked_are_not_taken_as_drawn() -> None:
    rows = [row(0.9, 0.5), row(0.1, 0.7, identity=NOT_DRAWN), row(0.1, 0.0), row(0.0, None)]
    found = count_triage(rows, 0.2)
    assert (found.above, found.drawn, found.robust, found.left, found.before) == (1, 1, 0, 1, 1)
    assert "1 drawn from the 3 below; 1 more were attacked by another scan" in found.lines()[0]
    assert "0 of those 1" in found.lines()[1]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([row(0.9, 0.5)], "1 of 1 models attacked"),
        ([row(0.9, 0.5), row(0.1, None)], "nothing is known of robust models among the 1 others"),
        ([], "0 of 0 models attacked"),
    ],
)
def test_without_a_draw_nothing_is_claimed(rows: list[ResultRow], said: str) -> None:
    (line,) = count_triage(rows, 0.2).lines()
    assert said in line
