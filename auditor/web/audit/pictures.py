"""What an audit's pages show as pictures: templates, adversarial images, and the order of C and F."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlencode

from sqlalchemy import Engine

from auditor.db.results import Detail
from auditor.db.templates import load_templates
from auditor.errors import DataError
from auditor.records.corruptions import is_corruptions
from auditor.records.templates import Templates
from auditor.results.adversarials import open_of_audit
from auditor.web.figures.heatmap import leaf_order
from auditor.web.figures.samples import SampleTile, sample_tiles
from auditor.web.figures.templates import MOST_ON_AUDIT, TemplateTiles, template_tiles
from auditor.web.paging import last_page

Order = Literal["own", "C", "F"]
ORDERS: dict[Order, str] = {"own": "each in its own dendrogram's", "C": "all in C's", "F": "all in F's"}
_KINDS = {"C": "weights", "F": "features"}
SAMPLES = 24
FEW = 10
"""The number of templates on the audit's page, if it does not show all."""


@dataclass(frozen=True)
class SampleSection:
    """One page of an audit's adversarial images. ``note``: why there are none; ``matches``: how many fit the filter."""

    tiles: tuple[SampleTile, ...] = ()
    note: str = ""
    classes: tuple[str, ...] = ()
    attacks: tuple[str, ...] = ()
    chosen_class: str = ""
    chosen_attack: str = ""
    matches: int = 0
    count: int = 0
    previous: str | None = None
    next: str | None = None


def shared_order(detail: Detail, order: Order) -> list[int] | None:
    """The classes in the order of C's or F's dendrogram; None without such a matrix, or if each has its own order."""
    part = detail.clusterings.get(_KINDS.get(order, ""))
    return None if part is None else leaf_order(part, len(detail.classes))


def possible_orders(detail: Detail) -> dict[str, str]:
    """The orders to choose from, with their names; empty unless the audit has both matrices."""
    return {str(key): name for key, name in ORDERS.items()} if set(_KINDS.values()) <= set(detail.clusterings) else {}


def build_templates(
    engine: Engine, detail: Detail, *, match: str = "", page: int = 1, per_page: int | None = None
) -> TemplateTiles:
    """The templates of an audit; without ``per_page`` all of up to 100 classes, and a few of more."""
    parts = load_templates(engine, detail.row.id)
    weights, count = detail.clusterings.get("weights"), len(detail.classes)
    order: Sequence[int] = range(count) if weights is None else leaf_order(weights, count)
    return template_tiles(
        parts,
        detail.classes,
        detail.superclasses,
        order,
        match=match,
        page=page,
        most=per_page or (max(count, 1) if count <= MOST_ON_AUDIT else FEW),
        note=_missing(detail, parts),
    )


def _missing(detail: Detail, parts: Sequence[Templates]) -> str:
    """Why some templates are missing: one sentence."""
    kinds, row = {part.kind for part in parts}, detail.row
    why = next((reason for reason in row.not_measurable if reason.startswith("linearize")), "")
    if not kinds and not why and row.sketch is None:
        return (
            "This audit stored no templates, or they were pruned; `auditor scan … --force` stores them, and "
            f"`auditor results plot {shlex.quote(row.model)} --id {row.id} --templates -o FILE` draws them from the "
            "model."
        )
    if "linearized" not in kinds:
        reason = f"not measurable ({why})" if why else "not computed, because C was estimated by a sketch"
        return f"The templates of the linearized network were {reason}."
    if "local" not in kinds:
        many = len(detail.classes) > MOST_ON_AUDIT
        reason = "they are computed for up to 100 classes" if many else "the model has no finite gradient at them"
        return f"There is no mean of the local linear maps at random images: {reason}."
    return ""


def build_samples(
    detail: Detail, *, chosen_class: str = "", attack: str = "", page: int = 1, keep: Mapping[str, str] | None = None
) -> SampleSection | None:
    """One page of an audit's adversarial images; None if the audit ran no attack, as under corruptions.

    ``keep``: other parameters of the page's address, for the links to further pages.
    """
    if detail.row.robust_accuracy is None or is_corruptions(detail.row.norm):
        return None
    try:
        saved = open_of_audit(detail)
        label = detail.classes.index(chosen_class) if chosen_class in detail.classes else None
        found = [] if chosen_class and label is None else saved.select(label, attack or None)
        page = last_page(page, len(found), SAMPLES)
        start = (page - 1) * SAMPLES
        tiles = sample_tiles(saved.samples(found[start : start + SAMPLES]), detail.classes, saved.norm)
    except DataError as error:
        return SampleSection(note=f"{error}.")
    query = dict(keep or {}) | {name: value for name, value in (("class", chosen_class), ("attack", attack)) if value}

    def link(number: int) -> str:
        return "?" + urlencode(query | {"page": str(number)}) + "#samples"

    return SampleSection(
        tiles=tiles,
        note="" if saved.clean is not None else "This file has no clean images; newer ones do.",
        classes=tuple(detail.classes[k] for k in sorted(set(saved.labels.tolist())) if 0 <= k < len(detail.classes)),
        attacks=tuple(dict.fromkeys(saved.attacks)),
        chosen_class=chosen_class,
        chosen_attack=attack,
        matches=len(found),
        count=len(saved.indices),
        previous=link(page - 1) if page > 1 else None,
        next=link(page + 1) if start + SAMPLES < len(found) else None,
    )


def build_exclusive(
    broken: Detail, numbers: Sequence[int], page: int, per_page: int
) -> tuple[tuple[SampleTile, ...], int, str]:
    """Pictures of samples that only the other model withstands, from the file of this one.

    Returns one page of pictures, the number of all of them, and what is missing.
    """
    if not numbers:
        return (), 0, ""
    try:
        saved = open_of_audit(broken)
        places = saved.select(numbers=numbers)
        shown = places[(page - 1) * per_page : page * per_page]
        tiles = sample_tiles(saved.samples(shown), broken.classes, saved.norm)
    except DataError as error:
        return (), 0, f"No pictures: {error}."
    without = len(numbers) - len(places)
    note = f"Misclassified without an attack, so without a picture: {without} of {len(numbers)}." if without else ""
    return tiles, len(places), note
