"""The plot of an adaptation: accuracy by the number of target images."""

from collections.abc import Callable, Sequence
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
    """Plot the means over the seeds by the number of images; None if there is only one number."""
    numbers = sorted({score.shots for score in result.scores})
    if len(numbers) < 2:
        return None
    means = {
        (name, shots): fmean(map(value, found))
        for name, value, adapted in _SERIES
        for shots in numbers
        if (found := _accuracies(result, shots, adapted))
    }
    across = Scale(0, len(numbers) - 1, LEFT, WIDTH - RIGHT)
    up = Scale(*around(means.values(), least=0.1), HEIGHT - BOTTOM, TOP)
    lines = []
    for series, (name, _, _) in enumerate(_SERIES):
        marks = tuple(
            Mark(across(k), up(mean), None, None, f"{shots} images a class: {name} {percent(mean)}")
            for k, shots in enumerate(numbers)
            if (mean := means.get((name, shots))) is not None
        )
        lines.append(Line(name, series, marks))
    ticks = tuple(Tick(across(k), str(shots)) for k, shots in enumerate(numbers))
    seeds = f", mean of {len(result.request.seeds)} seeds" if len(result.request.seeds) > 1 else ""
    title = f"superclass accuracy, %, by images a class{seeds}"
    return Lines(title, tuple(line for line in lines if line.marks), ticks, up.ticks(4, scale=100))


def _accuracies(result: AdaptResult, shots: int, adapted: bool) -> Sequence[Accuracy]:
    scores = [score for score in result.scores if score.shots == shots]
    return [one for score in scores if (one := score.adapted if adapted else score.baseline) is not None]
