"""Source models: they learn their classes, in a way that is repeatable, from images of any size and channels."""

import dataclasses

import pytest
import torch

from auditor.adapt.source import source_network, train_source
from auditor.adapt.splits import Part, source_training
from auditor.boost import cluster_regularizer
from auditor.boost.training import pixels_of
from auditor.errors import InputError
from auditor.records.boosts import Recipe
from auditor.zoo.demo.networks import SmallResNet
from tests.adapt.data import ASSIGNMENT, tiny

PART = source_training(tiny(48), ASSIGNMENT, None)
RECIPE = Recipe(epochs=8, batch_size=32, max_lr=0.1)


@pytest.mark.long
def test_it_learns_its_classes_and_the_same_seed_gives_the_same_weights() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    models = [train_source(PART, ASSIGNMENT, RECIPE, seed) for seed in (1, 1, 2)]
    assert torch.equal(torch.get_rng_state(), before)
    states = [model.state_dict() for model in models]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    assert not torch.equal(states[0]["head.weight"], states[2]["head.weight"])
    logits = models[0](pixels_of(PART.images))
    assert logits.shape == (len(PART.labels), 4)
    assert (logits.argmax(1) == PART.labels).float().mean() > 0.9
    assert not models[0].training


@pytest.mark.long
def test_the_regularizer_pulls_sources_of_a_superclass_together() -> None:
    spread = {}
    for beta in (0.0, 1.0):
        model = train_source(PART, ASSIGNMENT, dataclasses.replace(RECIPE, beta=beta), seed=0)
        with torch.no_grad():
            spread[beta] = cluster_regularizer(model(pixels_of(PART.images)), ASSIGNMENT.source_superclasses).item()
    assert spread[1.0] < spread[0.0]


@pytest.mark.parametrize(("dataset", "shape"), [("fashion_mnist", (1, 28, 28)), ("cifar100", (3, 32, 32))])
def test_the_network_fits_the_images(dataset: str, shape: tuple[int, int, int]) -> None:
    images = torch.rand(40, *shape, generator=torch.Generator().manual_seed(0)) ** 2
    network = source_network(dataset, 16, images)
    assert network(images).shape == (40, 16)
    plain = SmallResNet().normalize
    if dataset == "fashion_mnist":
        assert torch.equal(network.normalize.mean, plain.mean)
    else:
        inside = network.normalize(images)
        assert inside.mean().abs() < 1e-5
        assert inside.std() == pytest.approx(1.0, abs=1e-4)


def test_too_few_images_and_a_rate_that_diverges_are_errors() -> None:
    few = Part(PART.images[:8], PART.labels[:8], PART.numbers[:8])
    with pytest.raises(InputError, match="at least one batch of 32 training images, got 8"):
        train_source(few, ASSIGNMENT, RECIPE, seed=0)
    wild = dataclasses.replace(RECIPE, max_lr=1e30)
    with pytest.raises(InputError, match="diverged: try a lower learning rate than 1e"):
        train_source(PART, ASSIGNMENT, wild, seed=0)
