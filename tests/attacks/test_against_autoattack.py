"""Our `standard` against pyautoattack's own standard run, on a robust and on a standard demo model, 64 images."""

import pytest
import torch
from pyautoattack import AutoAttack

from auditor.attacks import evaluate_robustness
from auditor.zoo.demo import DemoZoo


@pytest.mark.slow
@pytest.mark.parametrize("name", ["at-eps0.10", "standard", "noise"])
def test_not_above_autoattack_by_more_than_one_image(name: str, demo_images: tuple) -> None:
    zoo = DemoZoo()
    (entry,) = [entry for entry in zoo.entries() if entry.model == f"demo:{name}"]
    model = zoo.load(entry).model.requires_grad_(False)
    images, labels = (part[:64] for part in demo_images)
    ours = evaluate_robustness(model, images, labels, norm="Linf", eps=0.1, protocol="standard")
    theirs = AutoAttack(model, norm="Linf", eps=0.1, seed=0, version="standard")
    with torch.random.fork_rng():
        adversarials, _ = theirs.run_standard_evaluation(images, labels, batch_size=64)
    with torch.no_grad():
        survived = model(adversarials).argmax(1) == labels
    assert int(ours.survived.sum()) <= int(survived.sum()) + 1
    assert int((ours.survived != survived).sum()) <= 1
    assert all(ours.robust_accuracy <= score.robust_accuracy for score in ours.attacks)
