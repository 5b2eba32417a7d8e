"""What a reader of a missing page may have meant: similar addresses, newest objects, models with similar names."""

import difflib
from typing import NamedTuple
from urllib.parse import quote

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from auditor.db import models as tables
from auditor.text.printable import clean_line

PAGES = (
    "zoo", "compare", "scans", "boosts", "adaptations", "checkpoints", "workers", "schedules", "tokens", "docs", "help",
    "audits", "models", "sign-in",
)  # fmt: skip
MOST_NAMES = 5


class Link(NamedTuple):
    """An address and its text."""

    address: str
    text: str


def suggest_links(engine: Engine, path: str, detail: str) -> tuple[Link, ...]:
    """Suggest pages for a path that leads nowhere.

    Args:
        engine: of the database; its newest objects and model names are suggested.
        path: the requested path.
        detail: what the error says, which is not repeated.
    """
    kind, _, rest = path.strip("/").partition("/")
    known = kind if kind in PAGES else next(iter(difflib.get_close_matches(kind, PAGES, 1, 0.7)), "")
    links: list[Link] = []
    if known and known != kind:
        meant = f"/{known}" + (f"/{quote(rest[:200])}" if rest else "")
        links.append(Link(meant, f"Did you mean {clean_line(meant)}?"))
    if known in ("audits", "scans", "boosts", "checkpoints", "adaptations"):
        links += _newest(engine, known)
    if known == "models" or (not known and ":" in path) or "no result" in detail:
        links += _similar_models(engine, rest if known == "models" else path.strip("/"))
    return tuple(links)


def _newest(engine: Engine, kind: str) -> list[Link]:
    training = tables.Training
    queries = {
        "audits": select(func.max(tables.Audit.id)),
        "scans": select(func.max(tables.Scan.id)),
        "boosts": select(func.max(training.id)).where(training.kind == "boost"),
        "checkpoints": select(func.max(tables.Checkpoint.id)),
        "adaptations": select(func.max(training.id)).where(training.kind == "adapt"),
    }
    with Session(engine) as session:
        newest = session.scalar(queries[kind])
    name = kind.removesuffix("s")
    listed = [] if kind == "audits" else [Link(f"/{kind}", f"All {kind}")]
    return [*([Link(f"/{kind}/{newest}", f"The newest {name}, {newest}")] if newest else []), *listed]


def _similar_models(engine: Engine, name: str) -> list[Link]:
    with Session(engine) as session:
        names = list(session.scalars(select(tables.Model.name)))
    short = name.rpartition(":")[2].casefold()
    parts = [one for one in names if short and short in one.casefold()]
    near = difflib.get_close_matches(name, names, MOST_NAMES, 0.4) if len(names) <= 5000 else []
    return [Link(f"/models/{quote(one)}", one) for one in list(dict.fromkeys([*parts, *near]))[:MOST_NAMES]]
