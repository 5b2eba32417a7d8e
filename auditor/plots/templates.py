"""The templates of a model as pictures: W's rows, and beside them the mean of the local linear maps."""

import math
import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Patch

from auditor.pixels import DIVERGING, Pixels, colour_pixels, diverging_pixels, mean_channel, signed_limit
from auditor.plots.model import NAMED, superclass_colors
from auditor.plots.style import default_style
from auditor.records.templates import Templates

GAP, BAR = 0.12, 0.07
"""Of a picture's side: the space between pictures, and the height of the bar in its superclass's colour."""
COLOURS = LinearSegmentedColormap.from_list("signed", [tuple(part / 255 for part in one) for one in DIVERGING])


@default_style
def draw_templates(
    title: str,
    subtitle: str,
    classes: Sequence[str],
    superclasses: Sequence[str],
    order: Sequence[int],
    parts: Sequence[Templates],
) -> Figure:
    """Draw one picture for each class and kind of template, in this order of the classes.

    Pictures of one kind share a symmetric scale. They are means over the channels; pictures of colour images have the
    colours beside that. A bar above each picture has the colour of its superclass.
    """
    colors = superclass_colors(list(dict.fromkeys(superclasses)))
    panels = [_panel(part, order, [colors[superclasses[k]] for k in order]) for part in parts]
    height, width = panels[0][0].shape[:2]
    wide = 13.2 if len(parts) > 1 or len(classes) > NAMED else 8.0
    figure = Figure(
        figsize=(wide, 1.75 + wide / len(parts) * height / width), layout=ConstrainedLayoutEngine(wspace=0.05)
    )
    (head,), (body,) = figure.subfigures(2, 1, squeeze=False, height_ratios=(0.75, figure.get_figheight() - 0.75))
    head.text(0.01, 0.72, title, ha="left", va="center", fontsize=16, fontweight="bold")
    line = textwrap.fill(subtitle, round(14.5 * wide))
    head.text(0.01, 0.2, line, ha="left", va="center", fontsize=9.5, color="#555555")
    for axes, part, panel in zip(body.subplots(1, len(parts), squeeze=False)[0], parts, panels, strict=True):
        pixels, places, limit = panel
        axes.imshow(pixels, interpolation="nearest")
        axes.set_axis_off()
        axes.set_title(part.name, loc="left", fontsize=10)
        if len(classes) <= NAMED:
            for (x, y), k in zip(places, order, strict=True):
                name = textwrap.shorten(classes[k], 18, placeholder="…")
                axes.text(
                    x, y, name, ha="left", va="bottom", fontsize=7.5, color=colors[superclasses[k]], weight="bold"
                )
        _add_scale(body, axes, limit)
    marks = [Patch(color=color, label=family) for family, color in colors.items()]
    body.legend(handles=marks, loc="outside lower center", ncols=min(len(marks), 6), fontsize=7.5, frameon=False)
    return figure


def _panel(
    part: Templates, order: Sequence[int], colors: Sequence[str]
) -> tuple[Pixels, list[tuple[float, float]], float]:
    """The pictures of one kind as one image, the upper left corner of each, and the end of the scale."""
    tiles, limit = tile_pixels(part)
    tiles = tiles[list(order)]
    count, height, width, _ = tiles.shape
    gap, bar = max(2, round(GAP * height)), max(1, round(BAR * height))
    above = bar + (2 * gap if count <= NAMED else gap)
    columns = math.ceil(math.sqrt(2 * count * height / width))
    rows = math.ceil(count / columns)
    image = np.full((rows * (above + height), columns * (width + gap) - gap, 3), 255, np.uint8)
    places = []
    for k, (tile, color) in enumerate(zip(tiles, colors, strict=True)):
        top, left = k // columns * (above + height) + above, k % columns * (width + gap)
        image[top : top + height, left : left + width] = tile
        image[top - bar : top, left : left + width] = np.rint(255 * np.array(to_rgb(color)))
        places.append((left - 0.5, top - bar - 1.0))
    return image, places, limit


def tile_pixels(part: Templates) -> tuple[Pixels, float]:
    """The pictures ``(K, h, w, 3)``, in class order, and the end of their scale; colours stand to the right."""
    values = part.values
    grey = mean_channel(values)
    limit = signed_limit(grey)
    pixels = diverging_pixels(grey, limit)
    if values.shape[1] != 3:
        return pixels, limit
    space = np.full((*pixels.shape[:2], 1, 3), 255, np.uint8)
    return np.concatenate([pixels, space, colour_pixels(values, signed_limit(values))], axis=2), limit


def _add_scale(figure: Any, axes: Any, limit: float) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    scale = ScalarMappable(Normalize(-limit, limit), COLOURS)
    bar = figure.colorbar(scale, ax=axes, location="bottom", shrink=0.5, aspect=40, pad=0.02)
    bar.ax.tick_params(labelsize=7)
    bar.outline.set_visible(False)
    bar.set_label("change of the logit per unit of a pixel, mean over channels", size=7.5)
