"""A network's templates: their matrices, exact or from a sketch, with scores (C, centred, deflated); their pictures."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch

from auditor import clustering
from auditor.audit.pictures import linearized_pictures
from auditor.data import Hierarchy
from auditor.linear import TemplateSketch, template_gram, template_sketch
from auditor.records import AuditRequest, Clustering, Matrix
from auditor.records.templates import Templates, stored_size


@dataclass(frozen=True)
class TemplateScores:
    """The clusterings ``weights``, ``centred`` and, if the rank has ``collapsed``, ``deflated``.

    ``pictures``: the templates themselves; None for a sketch, which never computes them.
    """

    clusterings: tuple[Clustering, ...]
    affinity_error: float
    collapsed: bool
    pictures: Templates | None = None


def score_templates(
    model: torch.nn.Module, input_size: tuple[int, int, int], request: AuditRequest, hierarchy: Hierarchy
) -> TemplateScores:
    """Linearize a model and score its templates, in float64 if the rank of C has collapsed.

    Raises:
        LinearizationError: the linearized network is not affine.
    """
    return (_exact if request.sketch is None else _sketched)(model, input_size, request, hierarchy)


def _exact(
    model: torch.nn.Module, input_size: tuple[int, int, int], request: AuditRequest, hierarchy: Hierarchy
) -> TemplateScores:
    batch_norm: Any = request.linearization
    pictures = stored_size(len(hierarchy.classes), input_size[0], input_size[1:])
    templates = template_gram(model, input_size, batch_norm=batch_norm, pictures=pictures)
    c = clustering.correlation(templates.gram.numpy())
    collapsed = clustering.effective_rank(c) < clustering.RANK_COLLAPSE
    if collapsed and templates.dtype != "float64":
        templates = template_gram(model, input_size, batch_norm=batch_norm, double=True, pictures=pictures)
        c = clustering.correlation(templates.gram.numpy())
    matrices = {"weights": c, "centred": clustering.correlation(clustering.centred(templates.gram.numpy()))}
    if collapsed:
        matrices["deflated"] = clustering.deflated(c)
    parts = tuple(_scored(kind, matrix, request, hierarchy) for kind, matrix in matrices.items())
    return TemplateScores(
        parts, templates.affinity_error, collapsed, linearized_pictures(templates.pictures, input_size)
    )


def _sketched(
    model: torch.nn.Module, input_size: tuple[int, int, int], request: AuditRequest, hierarchy: Hierarchy
) -> TemplateScores:
    settings: dict[str, Any] = {"batch_norm": request.linearization, "probes": request.sketch, "seed": request.seed}
    sketch = template_sketch(model, input_size, **settings)
    collapsed = clustering.sketched_rank(_scaled(sketch)) < clustering.RANK_COLLAPSE
    if collapsed and sketch.dtype != "float64":
        sketch = template_sketch(model, input_size, **settings, double=True)
    variants: dict[str, Callable[[Matrix], Matrix]] = {"weights": _same, "centred": clustering.centred_responses}
    if collapsed:
        variants["deflated"] = clustering.deflated_responses
    responses, parts = _scaled(sketch), []
    for kind, prepare in variants.items():
        prepared = prepare(responses)
        part = _scored(kind, clustering.sketched_correlation(prepared), request, hierarchy)
        scores = replace(
            part.scores,
            effective_rank=clustering.sketched_rank(prepared, lost=int(kind == "deflated")),
            gap_error=clustering.gap_error(responses, hierarchy.superclasses, prepare=prepare),
        )
        parts.append(replace(part, scores=scores))
    return TemplateScores(tuple(parts), sketch.affinity_error, collapsed)


def _scaled(sketch: TemplateSketch) -> Matrix:
    """The responses, scaled so that their squares fit in float64; no score depends on the scale."""
    scaled: Matrix = (sketch.responses / sketch.responses.abs().max()).numpy()
    return scaled


def _same(responses: Matrix) -> Matrix:
    return responses


def _scored(kind: str, matrix: Matrix, request: AuditRequest, hierarchy: Hierarchy) -> Clustering:
    scores = clustering.clustering_scores(matrix, hierarchy.superclasses, seed=request.seed, levels=hierarchy.levels)
    return Clustering(kind=kind, scores=scores, matrix=matrix)
