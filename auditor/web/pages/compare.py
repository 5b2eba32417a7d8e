"""The page that compares two to five models: paired tests, attacks, matrices, and what only one withstands."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from auditor.db.results import Detail
from auditor.db.zoo import list_audited_names
from auditor.errors import NotFoundError, UsageError
from auditor.records.results import ResultRow
from auditor.results.curves import comparison_pairs
from auditor.results.group_comparison import LETTERS, MOST, GroupComparison, PairComparison, compare_group
from auditor.web.api.common import Database
from auditor.web.audit.pictures import build_exclusive
from auditor.web.figures.bars import Bar, attack_bars
from auditor.web.figures.heatmap import Heatmap, heatmap, leaf_order
from auditor.web.figures.paired import PairTable, pair_table
from auditor.web.figures.robustness import CurvePlot, curve_plot
from auditor.web.figures.samples import SampleTile
from auditor.web.leaderboard import certified_remarks
from auditor.web.pages.common import PageAccess, render_page

router = APIRouter()
Name = Annotated[str, Query(max_length=200)]
PageNumber = Annotated[int, Query(ge=1, le=100_000)]
PER_PAGE = 12
MATRICES = {"C": "weights", "F": "features"}


@dataclass(frozen=True)
class ComparedModel:
    """One of the compared results, and its letter."""

    letter: str
    row: ResultRow

    @property
    def name(self) -> str:
        """The model and the number of its audit, ``NAME@ID``."""
        return f"{self.row.model}@{self.row.id}"


@dataclass(frozen=True)
class ComparedAttack:
    """The accuracy of each model after one attack; None for a model that was not attacked by it."""

    name: str
    bars: tuple[Bar | None, ...]


@dataclass(frozen=True)
class MatrixRow:
    """C or F of each model in one order of the classes; None for a model without it."""

    name: str
    maps: tuple[Heatmap | None, ...]


@dataclass(frozen=True)
class Exclusive:
    """The samples that only one model withstands, with pictures from the file of ``broken``, another one."""

    model: str
    broken: str
    numbers: tuple[int, ...]
    tiles: tuple[SampleTile, ...]
    pictures: int
    note: str


@dataclass(frozen=True)
class Comparison:
    """All that is known of the compared models.

    ``remarks``: on certified accuracies, and curves that are not compared. ``differences``: the settings that differ,
    with the value of each model; ``shared``: the number of shared samples.
    ``curves``, ``curve_tests``: the robust accuracy at every radius, and what tests say of every two curves.
    ``orders``: the orders of the classes to choose from, by key; ``order`` is the chosen one; empty if the models have
    different classes, and ``matrices`` has each matrix in its own order then.
    """

    models: tuple[ComparedModel, ...]
    remarks: tuple[str, ...]
    differences: tuple[tuple[str, tuple[str, ...]], ...]
    tables: tuple[PairTable, ...]
    obstacles: tuple[str, ...]
    shared: int
    attacks: tuple[ComparedAttack, ...]
    curves: CurvePlot | None
    curve_tests: tuple[tuple[str, tuple[tuple[str, str], ...]], ...]
    matrices: tuple[MatrixRow, ...]
    orders: dict[str, str]
    order: str
    exclusive: tuple[Exclusive, ...]


@dataclass(frozen=True)
class ComparisonPage:
    """``names``: as they were typed, and empty ones to fill in; without a ``comparison``, ``error`` says why.

    ``previous``, ``next``: links to more pictures.
    """

    names: tuple[str, ...]
    models: tuple[str, ...]
    comparison: Comparison | None
    error: str | None
    previous: str | None
    next: str | None


@router.get("/compare", response_class=HTMLResponse)
def show_comparison(
    request: Request,
    engine: Database,
    _: PageAccess,
    model: Annotated[list[Name], Query(max_length=20)] = [],  # noqa: B006
    a: Name = "",
    b: Name = "",
    order: Annotated[str, Query(max_length=10)] = "",
    page: PageNumber = 1,
) -> HTMLResponse:
    names = [name.strip() for name in (a, b, *model) if name.strip()]
    comparison, problem = None, None
    if len(names) > 1:
        try:
            comparison = _build(compare_group(engine, names), order, page)
        except (UsageError, NotFoundError) as error:
            problem = str(error)
    most = max((one.pictures for one in comparison.exclusive), default=0) if comparison else 0

    def link(number: int) -> str:
        kept = [("model", name) for name in names] + ([("order", order)] if order else [])
        return "?" + urlencode([*kept, ("page", str(number))]) + "#only"

    context = ComparisonPage(
        names=tuple([*names, *[""] * max(3 - len(names), 1)][: max(MOST, len(names))]),
        models=tuple(list_audited_names(engine)),
        comparison=comparison,
        error=problem,
        previous=link(page - 1) if page > 1 else None,
        next=link(page + 1) if page * PER_PAGE < most else None,
    )
    return render_page(request, "compare.html", context, 422 if problem else 200)


def _build(found: GroupComparison, order: str, page: int) -> Comparison:
    models = tuple(ComparedModel(letter, one.row) for letter, one in zip(LETTERS, found.details, strict=False))
    orders = _possible_orders(found.details)
    chosen = order if order in orders else next(iter(orders), "")
    return Comparison(
        models=models,
        remarks=(*certified_remarks([one.row for one in models], ("certified",)), *_uncompared_curves(found)),
        differences=found.differences,
        tables=tuple(pair_table(pair, LETTERS, len(found.pairs)) for pair in found.pairs if pair.found),
        obstacles=tuple(_obstacle(pair) for pair in found.pairs if pair.obstacle),
        shared=found.shared,
        attacks=tuple(_attacks(found.details)),
        curves=curve_plot([(one.letter, detail) for one, detail in zip(models, found.details, strict=True)]),
        curve_tests=tuple(_curve_tests(found)),
        matrices=tuple(_matrices(found.details, chosen)),
        orders=orders,
        order=chosen,
        exclusive=tuple(_exclusive(found, models, page)),
    )


def _obstacle(pair: PairComparison) -> str:
    return f"{LETTERS[pair.first]} and {LETTERS[pair.second]} cannot be compared image by image: {pair.obstacle}."


def _curve_tests(found: GroupComparison) -> Iterator[tuple[str, tuple[tuple[str, str], ...]]]:
    """Every pair of models with curves, by its letters, and names and values of its comparison."""
    for pair in found.pairs:
        if pair.found and pair.found.curves:
            a, b = LETTERS[pair.first], LETTERS[pair.second]
            yield f"{a}, {b}", tuple(comparison_pairs(pair.found.curves, a, b))


def _uncompared_curves(found: GroupComparison) -> Iterator[str]:
    """The pairs of models whose curves are of different searches."""
    for pair in found.pairs:
        if pair.found and (why := pair.found.curves_obstacle):
            yield f"{LETTERS[pair.first]} and {LETTERS[pair.second]}: {why}."


def _attacks(details: Sequence[Detail]) -> list[ComparedAttack]:
    """Clean, and then the attacks in the order of the cascades."""
    bars = [{bar.name: bar for bar in attack_bars(one.row, one.attacks)} for one in details]
    names = dict.fromkeys(name for mine in bars for name in mine)
    return [ComparedAttack(name, tuple(mine.get(name) for mine in bars)) for name in names]


def _possible_orders(details: Sequence[Detail]) -> dict[str, str]:
    """The orders of all dendrograms, such as ``A-C``; none if the models have different classes."""
    if len({one.classes for one in details}) > 1:
        return {}
    return {
        f"{letter}-{name}": f"{name} of {letter}"
        for letter, one in zip(LETTERS, details, strict=False)
        for name, kind in MATRICES.items()
        if kind in one.clusterings
    }


def _matrices(details: Sequence[Detail], order: str) -> list[MatrixRow]:
    places = None
    if found := re.fullmatch("([A-E])-([CF])", order):
        chosen = details[LETTERS.index(found[1])]
        places = leaf_order(chosen.clusterings[MATRICES[found[2]]], len(chosen.classes))
    rows = []
    for name, kind in MATRICES.items():
        parts = [one.clusterings.get(kind) for one in details]
        maps = tuple(
            None if part is None else heatmap(part, one.classes, one.superclasses, places)
            for part, one in zip(parts, details, strict=True)
        )
        if any(maps):
            rows.append(MatrixRow(name, maps))
    return rows


def _exclusive(found: GroupComparison, models: Sequence[ComparedModel], page: int) -> list[Exclusive]:
    """For each model the samples that it alone withstands, with pictures of the first other one that saved them."""
    sections = []
    for k, numbers in enumerate(found.only or ()):
        others = [j for j in range(len(models)) if j != k]
        j = next((j for j in others if found.details[j].adversarials), others[0])
        tiles, count, note = build_exclusive(found.details[j], numbers, page, PER_PAGE)
        sections.append(Exclusive(models[k].name, models[j].name, numbers, tiles, count, note))
    return sections
