"""From stored results to pictures: the templates of a model, and its adversarial images."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Engine

from auditor.cli.output.progress import say
from auditor.db.results import Detail, Filter, list_results, load_detail
from auditor.db.store import Store
from auditor.db.templates import load_templates
from auditor.errors import AuditorError, DataError, UsageError, first_line
from auditor.plots import draw_adversarials, draw_templates
from auditor.records.templates import Templates
from auditor.results.adversarials import SavedAdversarials, check_identity, open_saved
from auditor.results.lookup import find_rows
from auditor.text.eps import format_eps
from auditor.text.numbers import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 10


def templates_figure(engine: Engine, detail: Detail, folder: Path | None, trust_code: bool) -> "Figure":
    """Draw the templates that an audit stored, or those of its model if it stored none.

    Raises:
        UsageError: there are none, and the model cannot be loaded, or has other weights than the audit's.
    """
    row = detail.row
    parts = load_templates(engine, row.id)
    linearized = any(part.kind == "linearized" for part in parts)
    if not linearized and not any(reason.startswith("linearize") for reason in row.not_measurable):
        say(f"audit {row.id} stored no templates: they are computed from the model")
        parts = _compute(engine, detail, folder, trust_code)
    if not parts:
        raise UsageError(f"no templates of {row.model} to draw: {'; '.join(row.not_measurable)}")
    weights, count = detail.clusterings.get("weights"), len(detail.classes)
    order = list(weights.scores.leaf_order) if weights else []
    subtitle = (
        f"{detail.description}. One picture a class, in dendrogram order of C; blue lowers the logit, red raises it"
    )
    return draw_templates(
        row.model,
        subtitle,
        detail.classes,
        detail.superclasses,
        order if len(order) == count else list(range(count)),
        parts,
    )


def _compute(engine: Engine, detail: Detail, folder: Path | None, trust_code: bool) -> tuple[Templates, ...]:
    """The pictures of the model that was audited, if it can be loaded and still has the same weights."""
    from auditor.audit.pictures import compute_pictures
    from auditor.zoo import find_source, select
    from auditor.zoo.download import no_downloads

    row = detail.row
    place = folder or next((Path(one) for one in Store(engine).find_places([row.model]).values()), None)
    try:
        source = find_source(row.source, place, trust_code=trust_code)
        (entry,) = select(source.entries(), models=[row.model])
        with no_downloads():
            loaded = source.load(entry)
    except AuditorError as error:
        raise UsageError(
            f"audit {row.id} stored no templates, and {row.model} cannot be loaded: {first_line(error)}"
        ) from error
    if loaded.weights_sha256 != row.weights_sha256:
        raise UsageError(
            f"audit {row.id} stored no templates, and the weights of {row.model} have changed since (SHA-256 "
            f"{loaded.weights_sha256[:12]}, the audit's {(row.weights_sha256 or '')[:12]}): audit it again"
        )
    return compute_pictures(
        loaded.model, entry, classes=len(detail.classes), linearization=row.linearization, seed=row.seed
    )


def adversarials_figure(engine: Engine, model: str, protocol: str | None, audit_id: int | None, path: Path) -> "Figure":
    """Draw some adversarial images of a file, or of the file in a folder that belongs to an audit of the model.

    Raises:
        UsageError: there is no such file, it is another model's, or it has no images.
    """
    try:
        return _draw_adversarials(engine, model, protocol, audit_id, path)
    except DataError as error:
        raise UsageError(str(error)) from error


def _draw_adversarials(engine: Engine, model: str, protocol: str | None, audit_id: int | None, path: Path) -> "Figure":
    rows = find_rows(engine, model, protocol, audit_id)
    saved = _find_saved(rows[0].model, path, [row.identity or "" for row in rows])
    if audit_id is None:
        every = Filter(model=rows[0].model, protocol=protocol, status="done", history=True)
        rows = [row for row in list_results(engine, every) if row.identity == saved.identity] or rows
    check_identity(saved, rows[0])
    if not len(saved.indices):
        raise UsageError(f"{saved.path.name} has no images: no attack broke a sample of {model}")
    detail = load_detail(engine, rows[0].id)
    chosen = saved.samples(sorted(saved.varied(COLUMNS), key=lambda position: int(saved.labels[position])))
    subtitle = (
        f"{detail.description}, {detail.row.protocol}, {saved.norm} {format_eps(saved.eps)}: {len(chosen)} of the "
        f"{counted(len(saved.indices), 'sample')} that an attack broke, of {detail.row.n}"
    )
    return draw_adversarials(detail.row.model, subtitle, detail.classes, saved.norm, chosen)


def _find_saved(model: str, path: Path, identities: list[str]) -> SavedAdversarials:
    from auditor.attacks import adversarials_file

    if not path.is_dir():
        return open_saved(path)
    names = [adversarials_file(path, model, identity) for identity in identities]
    for name in names:
        if name.exists():
            return open_saved(name)
    raise UsageError(
        f"expected {names[0].name} in {path}, found no such file; `auditor scan … --save-adversarials "
        f"{shlex.quote(str(path))} --force` writes it"
    )
