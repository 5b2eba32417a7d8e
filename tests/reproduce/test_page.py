"""The page: cells, verdicts, what is missing, and figures beside it."""

import math
from pathlib import Path

import pytest

from auditor.reproduce.catalogue import EXPERIMENTS, find_experiments
from auditor.reproduce.page import format_cell, page, write_page
from auditor.reproduce.records import Cell, Column, Estimate, ExperimentResult, Kind, Settings, Table
from auditor.reproduce.rules import decide

CELLS: list[tuple[Cell, Kind, str]] = [
    ("resnet", "text", "resnet"),
    (12000, "count", "12,000"),
    (0.4567, "number", "0.46"),
    (-0.001, "number", "0.00"),
    (math.nan, "number", "–"),
    (0.4567, "percent", "45.7 %"),
    (-0.0123, "points", "-1.2"),
    (math.nan, "points", "–"),
    ((0.1, 0.25), "interval", "0.10 to 0.25"),
    ((-0.1, 0.25), "points interval", "-10.0 to +25.0"),
    ((math.nan, math.nan), "interval", "–"),
]


@pytest.mark.parametrize(("value", "kind", "text"), CELLS)
def test_cells(value: Cell, kind: Kind, text: str) -> None:
    assert format_cell(value, kind) == text


def result(figure: Path) -> ExperimentResult:
    claim = decide("A | B", Estimate(value=0.1, low=0.05, high=0.15, over="500 images, 2 seeds"), "points", [0.1, 0.1])
    table = Table(title="Means", columns=(Column("network"), Column("gap", "number")), rows=(("vgg", 0.5),))
    return ExperimentResult(
        experiment="layers", dataset="fashion_mnist", claims=(claim,), tables=(table,), notes=("a note",),
        figures=(str(figure),),
    )  # fmt: skip


def test_a_page_with_its_figure(tmp_path: Path) -> None:
    figure = tmp_path / "work" / "layers.png"
    figure.parent.mkdir()
    figure.write_bytes(b"picture")
    missing = ExperimentResult(experiment="adaptation", dataset="cifar100", missing="there is no CIFAR-100")
    path = tmp_path / "docs" / "found.md"
    write_page(path, [result(figure), missing], Settings(seeds=3))
    lines = path.read_text().splitlines()
    verdict = "reproduced, because the interval is above zero"
    assert rf"| layers | A \| B | +10.0 points | +5.0 to +15.0 | 500 images, 2 seeds | {verdict} |" in lines
    assert "| adaptation | all | – | – | – | not decided, because it was not run: there is no CIFAR-100 |" in lines
    assert "| vgg | 0.50 |" in lines
    assert "| seeds | 3 |" in lines
    assert "- a note" in lines
    assert "![layers](found-layers.png)" in lines
    assert (tmp_path / "docs" / "found-layers.png").read_bytes() == b"picture"


def test_a_figure_that_was_not_copied_is_left_out() -> None:
    assert "![" not in page([result(Path("layers.png"))], Settings(), {})


def test_experiments_by_name() -> None:
    assert [one.name for one in find_experiments(("success", "zero-shot"))] == ["zero_shot", "success"]
    assert [one.name for one in find_experiments(())] == list(EXPERIMENTS)
