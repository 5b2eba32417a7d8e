"""The class templates of one audit as small pictures, in dendrogram order, with superclasses marked."""

from collections.abc import Sequence
from dataclasses import dataclass

from auditor.pixels import colour_pixels, data_uri, diverging_pixels, mean_channel, png_bytes, signed_limit
from auditor.records.templates import Templates
from auditor.web.figures.colors import SERIES, diverging
from auditor.web.paging import last_page

PER_PAGE = 50
MOST_ON_AUDIT = 100
"""The largest number of classes whose templates are all on the audit's own page."""


@dataclass(frozen=True)
class Picture:
    """One picture: a data URI, and what it shows."""

    uri: str
    alt: str


@dataclass(frozen=True)
class Tile:
    """One class: its name, its superclass with the number of its colour, and its pictures."""

    name: str
    family: str
    series: int
    pictures: tuple[Picture, ...]


@dataclass(frozen=True)
class Kind:
    """One kind of template: its name, the names of its pictures, and the two ends of its scale."""

    name: str
    variants: tuple[str, ...]
    limit: str


@dataclass(frozen=True)
class TemplateTiles:
    """A page of classes' pictures. ``matches``: how many classes there are to choose from, of ``count``.

    ``note``: why there are no pictures, or not all kinds of them; empty if nothing is missing.
    """

    kinds: tuple[Kind, ...]
    tiles: tuple[Tile, ...]
    families: tuple[tuple[str, int], ...]
    legend: tuple[str, ...]
    page: int
    matches: int
    count: int
    note: str

    @property
    def columns(self) -> int:
        """How many pictures stand side by side in a tile."""
        return max(len(kind.variants) for kind in self.kinds) if self.kinds else 1


def template_tiles(
    parts: Sequence[Templates],
    classes: Sequence[str],
    superclasses: Sequence[str],
    order: Sequence[int],
    *,
    match: str = "",
    page: int = 1,
    most: int = MOST_ON_AUDIT,
    note: str = "",
) -> TemplateTiles:
    """Draw a page of ``most`` classes, of those whose name or superclass contains ``match``."""
    families = list(dict.fromkeys(superclasses))
    text = match.strip().casefold()
    found = [k for k in order if text in classes[k].casefold() or text in superclasses[k].casefold()]
    page = last_page(page, len(found), most)
    chosen = found[(page - 1) * most : page * most]
    pictures: list[list[Picture]] = [[] for _ in chosen]
    kinds = []
    for part in parts:
        grey = mean_channel(part.values)
        limit = signed_limit(grey)
        variants = {"": diverging_pixels(grey[chosen], limit)}
        if part.values.shape[1] == 3:
            colours = colour_pixels(part.values[chosen], signed_limit(part.values))
            variants = {", mean over channels": variants[""], ", in colours": colours}
        for name, pixels in variants.items():
            for k, own in enumerate(pictures):
                own.append(Picture(data_uri(png_bytes(pixels[k])), f"{classes[chosen[k]]}, {part.name}{name}"))
        kinds.append(Kind(part.name, tuple(variants), f"{limit:.2g}"))
    return TemplateTiles(
        kinds=tuple(kinds),
        tiles=tuple(
            Tile(classes[k], superclasses[k], families.index(superclasses[k]) % SERIES, tuple(own))
            for k, own in zip(chosen, pictures, strict=True)
        ),
        families=tuple((family, number % SERIES) for number, family in enumerate(families)) if parts else (),
        legend=tuple(diverging(-1 + k / 10)[0] for k in range(21)),
        page=page,
        matches=len(found),
        count=len(classes),
        note=note,
    )
