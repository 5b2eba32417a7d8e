"""Adversarial images as a printed figure."""

from dataclasses import replace

import numpy as np

from auditor.pixels import difference_pixels, image_pixels
from auditor.plots import draw_adversarials
from auditor.plots.adversarials import sample_pixels
from auditor.records.adversarials import AdversarialSample
from tests.factories.figures import texts

CLEAN = np.random.default_rng(0).random((3, 4, 4)).astype(np.float32)
SAMPLE = AdversarialSample(
    number=17, label=0, predicted=1, attack="fgsm", adversarial=CLEAN + np.float32(0.05), clean=CLEAN, distance=0.05
)


def test_a_sample_is_clean_image_adversarial_image_and_ten_times_the_difference() -> None:
    clean, adversarial, difference = sample_pixels(SAMPLE)
    np.testing.assert_array_equal(clean, image_pixels(CLEAN[None])[0])
    np.testing.assert_array_equal(adversarial, image_pixels(SAMPLE.adversarial[None])[0])
    assert np.abs(difference.astype(int) - round((1 + 0.5) * 127.5)).max() <= 1
    grey = replace(SAMPLE, clean=CLEAN[:1], adversarial=CLEAN[:1] - np.float32(0.2))
    np.testing.assert_array_equal(sample_pixels(grey)[2], difference_pixels(np.full((1, 1, 4, 4), -0.1), 0.1)[0])


def test_the_figure_names_classes_attack_and_distance() -> None:
    written = " ".join(texts(draw_adversarials("a model", "words", ("cat", "dog"), "Linf", [SAMPLE, SAMPLE])))
    for part in ("a model", "cat", "→ dog", "sample 17", "fgsm", "Linf 0.05", "clean", "difference × 10"):
        assert part in written
    alone = replace(SAMPLE, clean=None, distance=float("nan"))
    written = " ".join(texts(draw_adversarials("a model", "words", ("cat", "dog"), "Linf", [alone])))
    assert "clean" not in written
    assert "nan" not in written
