"""What screening costs beside linearizing: ``python -m benchmarks.screening [--repeats 5]``.

demo: linearizing, scoring and screening the fifteen demo models over linearizing and scoring them, in turns, one
    thread. A scan under `screen` also starts processes and loads weights, so its own ratio is smaller.
efficientnet: linearizing, scoring and screening EfficientNet-Lite0, 1,000 classes of 224x224 pixels, as
    `--protocol screen --sketch 64` does, over the first two alone; and the screening over the sketch alone. Reach: at
    most 1.25 for the former.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from auditor.audit.templates import score_templates
from auditor.data import CLASSES, hierarchy_of, load_hierarchy
from auditor.linear import template_sketch
from auditor.records import AuditRequest
from auditor.screening import screen
from auditor.zoo.demo import DemoZoo
from benchmarks.side_by_side import in_turns, print_lines, ratio_line
from benchmarks.sketch import trained_efficientnet

REQUEST = AuditRequest(protocol="screen")


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def demo(repeats: int) -> str:
    zoo = DemoZoo()
    models = [(entry, zoo.load(entry).model.eval(), hierarchy_of(entry)) for entry in zoo.entries()]

    def linearize() -> None:
        for entry, model, hierarchy in models:
            score_templates(model, entry.input_size, REQUEST, hierarchy)

    def both() -> None:
        linearize()
        for entry, model, hierarchy in models:
            screen(model, entry.input_size, hierarchy.superclasses, norm=entry.norm, eps=entry.eps, gap=0.0)

    pairs = in_turns(lambda: _seconds(both), lambda: _seconds(linearize), repeats)
    return ratio_line("demo zoo: linearizing, scoring and screening / without screening", pairs, float("inf"))


def efficientnet(repeats: int) -> Iterator[str]:
    model = trained_efficientnet().eval().requires_grad_(False)
    size, hierarchy = (3, 224, 224), load_hierarchy("imagenet", CLASSES["imagenet"])

    def linearize() -> None:
        score_templates(model, size, replace(REQUEST, sketch=64), hierarchy)

    def sketch() -> None:
        template_sketch(model, size, probes=64)

    def look() -> None:
        screen(model, size, hierarchy.superclasses, norm="Linf", eps=4 / 255, gap=0.0)

    def both() -> None:
        linearize()
        look()

    pairs = in_turns(lambda: _seconds(both), lambda: _seconds(linearize), repeats)
    yield ratio_line("EfficientNet-Lite0: sketch of 64 images, scores and screening / without screening", pairs, 1.25)
    pairs = in_turns(lambda: _seconds(look), lambda: _seconds(sketch), repeats)
    yield ratio_line("EfficientNet-Lite0: screening / sketch of 64 images, not scored", pairs, float("inf"))


def lines(repeats: int) -> Iterator[str]:
    torch.set_num_threads(1)
    yield demo(repeats)
    yield from efficientnet(repeats)


if __name__ == "__main__":
    print_lines(__doc__, lines, repeats=5)
