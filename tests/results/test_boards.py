"""A board has one row a model, and ranks count whole boards."""

from auditor.db.boards import BoardRow
from auditor.results.boards import RowFilter, view_board


def row(number: int, model: str, accuracy: float, *flags: str) -> BoardRow:
    return BoardRow(number, model, "demo", {}, {}, accuracy, None, flags, None)


def test_of_several_rows_of_a_model_the_newest_complete_one_counts() -> None:
    rows = [
        row(1, "demo:a", 0.5),
        row(2, "demo:a", 0.4),
        row(3, "demo:a", 0.9, "stopped_early"),
        row(4, "demo:b", 0.45),
        row(5, "demo:c", 0.8, "stopped_early"),
    ]
    view = view_board(rows, RowFilter())
    assert {one.id for one in view.rows} == {2, 4, 5}
    assert dict(view.ranks) == {2: "2", 4: "1", 5: "–"}
