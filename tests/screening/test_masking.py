"""Margins at test images against the closed form of a linear classifier, and when they contradict the attacks."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditor.records.screening import Screening
from auditor.screening.masking import LEAST_IMAGES, margins_at, masking_finding, probe_notes


class Linear(nn.Module):
    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1) @ self.weight.T


@pytest.mark.parametrize(("norm", "dual"), [("Linf", 1), ("L2", 2)])
@pytest.mark.parametrize("classes", [3, 10])
def test_margins_of_a_linear_classifier_are_its_distances(norm: str, dual: int, classes: int) -> None:
    random = np.random.default_rng(0)
    weight, images = random.normal(size=(classes, 16)), random.uniform(size=(8, 1, 4, 4))
    found = margins_at(Linear(torch.from_numpy(weight)), torch.from_numpy(images), norm).numpy()
    for image, distance in zip(images.reshape(8, 16), found, strict=True):
        logits = weight @ image
        best = int(logits.argmax())
        others = [k for k in range(classes) if k != best]
        exact = min((logits[best] - logits[k]) / np.linalg.norm(weight[best] - weight[k], dual) for k in others)
        assert distance == pytest.approx(exact)


@pytest.mark.parametrize(
    ("within", "broken", "flagged"),
    [(64, 0, True), (64, 44, True), (64, 45, False), (20, 0, True), (19, 0, False), (0, 64, False), (40, 40, False)],
)
def test_a_contradiction_of_three_tenths_is_flagged(within: int, broken: int, flagged: bool) -> None:
    margins = torch.full((64,), 0.2, dtype=torch.float64)
    margins[:within] = 0.05
    survived = torch.arange(64) >= broken
    flags, notes = masking_finding(margins, survived, 0.1)
    assert flags == (["possible_masking"] if flagged else [])
    assert len(notes) == len(flags)
    if flagged:
        assert f"attacks break {broken} of 64 images, of which {within}" in notes[0]


@pytest.mark.parametrize("unknown", [torch.nan, torch.inf])
def test_unknown_margins_do_not_count_and_a_few_known_ones_say_nothing(unknown: float) -> None:
    margins = torch.full((64,), unknown, dtype=torch.float64)
    survived = torch.ones(64, dtype=torch.bool)
    margins[: LEAST_IMAGES - 1] = 0.01
    assert masking_finding(margins, survived, 0.1) == ([], [])
    margins[LEAST_IMAGES - 1] = 0.01
    flags, notes = masking_finding(margins, survived, 0.1)
    assert flags == ["possible_masking"]
    assert f"0 of {LEAST_IMAGES} images" in notes[0]


@pytest.mark.parametrize(
    ("probes", "data", "noted"),
    [
        (0.46, 0.1, True), (0.44, 0.1, False), (0.1, 0.4, False), (math.nan, 0.1, False), (0.46, math.nan, False),
        (0.46, 0.0, False), (1.0, 0.01, True),
    ],
)  # fmt: skip
def test_margins_at_probes_far_above_those_at_images_are_noted(probes: float, data: float, noted: bool) -> None:
    found = probe_notes(Screening(score=0.9, margin=probes, local_gap=0.1, gap=0.1, data_margin=data))
    assert bool(found) is noted
    if noted:
        assert f"{probes / data:.1f} times" in found[0]
