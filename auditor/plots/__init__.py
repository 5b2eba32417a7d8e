"""Figures for talks and papers with matplotlib: records in, figures out."""

from pathlib import Path

from matplotlib.figure import Figure

from auditor.errors import UsageError
from auditor.plots.adversarials import draw_adversarials
from auditor.plots.boost import draw_boost
from auditor.plots.curves import PlotCurve, draw_curves
from auditor.plots.errors import draw_errors
from auditor.plots.model import draw_model
from auditor.plots.style import default_style
from auditor.plots.templates import draw_templates
from auditor.plots.zoo import ZooPoint, draw_zoo

__all__ = [
    "PlotCurve",
    "ZooPoint",
    "draw_adversarials",
    "draw_boost",
    "draw_curves",
    "draw_errors",
    "draw_model",
    "draw_templates",
    "draw_zoo",
    "save",
]


@default_style
def save(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, SVG or PDF, according to the suffix of the path.

    Raises:
        UsageError: the path has another suffix, or the file cannot be written.
    """
    if path.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise UsageError(f"expected a file ending in .png, .svg or .pdf, got {path.name!r}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, dpi=200)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror}") from error
