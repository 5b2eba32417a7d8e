"""The plot of an adaptation: accuracy by the number of target images."""

from collections.abc import Callable
from statistics import fmean

from auditor.records.adaptations import Accuracy, AdaptResult
from auditor.text.numbers import percent
from auditor.web.figures.lines import HEIGHT, LEFT, RIGHT, TOP, WIDTH, Line, Lines, Mark
from auditor.web.figures.scale import Scale, Tick, around

BOTTOM = 30
_SERIES: tuple[tuple[str, Callable[[Accuracy], float], bool], ...] = (
    ("adapted, robust", lambda accuracy: accuracy.robust, True),
    ("adapted, clean", lambda accuracy: accuracy.clean, True),
    ("nearest mean of pixels, robust", lambda accuracy: accuracy.robust, False),
)


def shots_plot(result: AdaptResult) -> Lines | None:
    """Plot the means over the seeds; None for a single number of images. With one seed, robust has its interval."""
    numbers = sorted({score.shots for score in result.scores})
    if len(numbers) < 2:
        return None
    across = Scale(0, len(numbers) - 1, LEFT, WIDTH - RIGHT)
    found = [
        (name, k, shots, [value(one) for one in ones], ones)
        for name, value, adapted in _SERIES
        for k, shots in enumerate(numbers)
        if (ones := _accuracies(result, shots, adapted))
    ]
    up = Scale(*around([fmean(values) for *_, values, _ in found], least=0.1), HEIGHT - BOTTOM, TOP)
    lines = []
    for number, (name, _, _) in enumerate(_SERIES):
        marks = []
        for _, k, shots, values, ones in (one for one in found if one[0] == name):
            ends = (up(ones[0].high), up(ones[0].low)) if len(ones) == 1 and name.endswith("robust") else (None, None)
            marks.append(Mark(across(k), up(fmean(values)), *ends, f"{shots} images a class: {name} {percent(fmean(values))}"))
        if marks:
            lines.append(Line(name, number, tuple(marks)))
    ticks = tuple(Tick(across(k), str(shots)) for k, shots in enumerate(numbers))
    title = "superclass accuracy, %, by images a class" + (", mean of the seeds" if len(result.request.seeds) > 1 else "")
    return Lines(title, tuple(lines), ticks, up.ticks(4, scale=100))


def _accuracies(result: AdaptResult, shots: int, adapted: bool) -> list[Accuracy]:
    scores = [score for score in result.scores if score.shots == shots]
    return [one for score in scores if (one := score.adapted if adapted else score.baseline) is not None]
