"""Each new number against a few lines of NumPy."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from auditor.reproduce.adaptation import augment, tuning_of
from auditor.reproduce.bench import Bench, Network
from auditor.reproduce.data import Labelled
from auditor.reproduce.layers import filter_correlation, mean_correlation
from auditor.reproduce.records import Settings
from auditor.reproduce.regularizer import best_epoch
from auditor.reproduce.success import per_class, score, success_matrix
from auditor.reproduce.transfer import attack_images, survives_transfer
from auditor.reproduce.work import Work
from auditor.reproduce.zero_shot import answers, averaged, divided, superclass_margin, superclass_of

EPS = 0.05


def linear(classes: int, pixels: int = 9, seed: int = 0) -> nn.Sequential:
    """``x -> W x + b`` on images (1, 3, 3), all classes about equally frequent."""
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(pixels, classes)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(classes, pixels, generator=generator))
        layer.bias.copy_(-layer.weight.sum(1) / 2)
    return nn.Sequential(nn.Flatten(), layer).eval()


def labelled(count: int, labels: Tensor, seed: int = 1) -> Labelled:
    """Images far from the ends of [0, 1], so that a ball is inside."""
    images = 0.3 + 0.4 * torch.rand(count, 1, 3, 3, generator=torch.Generator().manual_seed(seed))
    return Labelled.of(images, labels, torch.arange(count))


def weights(model: nn.Sequential) -> tuple[np.ndarray, np.ndarray]:
    layer = model[1]
    return layer.weight.detach().double().numpy(), layer.bias.detach().double().numpy()


def bench(tmp_path: Path, test: Labelled, superclasses: tuple[str, ...]) -> Bench:
    made = Bench(Settings(), Work(tmp_path))
    made.data = SimpleNamespace(test=test, superclasses=superclasses)
    return made


def test_filters() -> None:
    weight = torch.randn(5, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    rows = weight.double().numpy().reshape(5, -1)
    expected = np.abs(rows @ rows.T) / np.outer(*[np.linalg.norm(rows, axis=1)] * 2)
    np.fill_diagonal(expected, 0)
    assert np.allclose(filter_correlation(weight), expected)
    assert mean_correlation(weight) == pytest.approx(expected.sum() / 20)
    assert np.isnan(mean_correlation(weight[:1]))


def test_geometry(tmp_path: Path) -> None:
    superclasses = ("a", "a", "b", "b")
    model = linear(4)
    test = labelled(40, torch.arange(40) % 4)
    found = bench(tmp_path, test, superclasses).geometry(Network("linear", model, "digest"))
    weight, bias = weights(model)
    unit = weight / np.linalg.norm(weight, axis=1, keepdims=True)
    expected = unit @ unit.T
    same = np.array([[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0]], bool)
    apart = ~(same | np.eye(4, dtype=bool))
    assert np.allclose(found.correlation, expected, atol=1e-5)
    assert found.gap == pytest.approx(expected[same].mean() - expected[apart].mean(), abs=1e-5)
    values = np.linalg.eigvalsh(expected)
    assert found.rank == pytest.approx(values.sum() ** 2 / (values**2).sum(), abs=1e-4)
    logits = test.images.double().numpy().reshape(40, -1) @ weight.T + bias
    means = np.array([logits[test.labels.numpy() == k].mean(0) for k in range(4)])
    distance = ((means[:, None] - means) ** 2).mean(2)
    distance /= distance.max()
    assert found.feature_gap == pytest.approx(distance[apart].mean() - distance[same].mean(), abs=1e-5)


def test_verdicts_of_a_linear_network(tmp_path: Path) -> None:
    model = linear(2)
    weight, bias = weights(model)
    test = labelled(60, torch.zeros(60, dtype=torch.int64))
    logits = test.images.double().numpy().reshape(60, -1) @ weight.T + bias
    margin = logits[:, 0] - logits[:, 1]
    made = bench(tmp_path, test, ("a", "b"))
    found = made.verdicts(Network("linear", model, "digest"), test, eps=EPS)
    assert np.array_equal(found.correct, margin > 0)
    assert np.array_equal(found.survived, margin > EPS * np.abs(weight[0] - weight[1]).sum())
    assert 0 < found.robust < found.clean < 1
    assert np.array_equal(
        made.verdicts(Network("linear", nn.Identity(), "digest"), test, eps=EPS).correct, found.correct
    )


def test_the_first_of_the_best_epochs() -> None:
    assert best_epoch([0.2, 0.5, 0.5, 0.1]) == 1


def test_success_of_two_classes_of_a_linear_network() -> None:
    model = linear(2)
    weight, bias = weights(model)
    images = labelled(80, torch.arange(80) % 2)
    found = success_matrix(model, images, 2, EPS)
    logits = images.images.double().numpy().reshape(80, -1) @ weight.T + bias
    labels = images.labels.numpy()
    margin = logits[np.arange(80), labels] - logits[np.arange(80), 1 - labels]
    reach = EPS * np.abs(weight[0] - weight[1]).sum()
    for k in range(2):
        right = margin[(labels == k) & (margin > 0)]
        assert found[k, 1 - k] == pytest.approx((right < reach).mean())
        assert found[k, k] == 1
    assert 0 < found[0, 1] < 1


def test_a_class_that_is_never_right_has_no_row() -> None:
    model = linear(3)
    with torch.no_grad():
        model[1].bias[2] = -100
    found = success_matrix(model, labelled(30, torch.arange(30) % 3), 3, EPS)
    assert np.isnan(found[2]).all()
    assert np.isnan(score(found, np.eye(3), ("a", "a", "b")).gap)


def test_scores_of_success() -> None:
    generator = np.random.default_rng(0)
    matrix, other = generator.random((4, 4)), generator.random((4, 4))
    np.fill_diagonal(matrix, 1)
    found = score(matrix, other + other.T, ("a", "a", "b", "b"))
    both = (matrix + matrix.T) / 2
    inside, between = both[[0, 2], [1, 3]].mean(), both[:2, 2:].mean()
    assert found.gap == pytest.approx(inside - between)
    pairs = np.triu_indices(4, 1)
    assert found.mean == pytest.approx(both[pairs].mean())
    ranks = [np.argsort(np.argsort(values[pairs])) for values in (both, other + other.T)]
    assert found.rho == pytest.approx(np.corrcoef(ranks)[0, 1])


def test_the_first_images_of_each_class() -> None:
    images = labelled(7, torch.tensor([0, 1, 1, 0, 0, 1, 2]))
    assert per_class(images, 2).numbers.tolist() == [0, 1, 2, 3, 6]


def test_transfer_from_a_linear_surrogate(tmp_path: Path) -> None:
    surrogate, target = linear(2), linear(2, seed=5)
    (first, _), (second, offset) = weights(surrogate), weights(target)
    images = labelled(50, torch.zeros(50, dtype=torch.int64))
    expected = images.images.numpy() + EPS * np.sign(first[1] - first[0]).reshape(1, 1, 3, 3)
    network = Network("surrogate", surrogate, "one")
    assert np.allclose(attack_images(network, images, EPS).numpy(), expected, atol=1e-6)
    made = bench(tmp_path, images, ("a", "b"))
    made.settings = SimpleNamespace(eps=EPS)
    survived = survives_transfer(made, network, Network("target", target, "two"), images)
    right = [
        (points.reshape(50, -1) @ second.T + offset).argmax(1) == 0 for points in (images.images.numpy(), expected)
    ]
    assert np.array_equal(survived, right[0] & right[1])
    assert 0 < survived.mean() < 1


GROUPS = [[4 * m + k for k in range(4)] for m in range(4)]


def test_floor_and_division_of_sixteen_classes() -> None:
    classes = np.arange(16)
    assert superclass_of(torch.from_numpy(classes), GROUPS).tolist() == np.floor(classes / 4).astype(int).tolist()
    for label in range(4):
        assert ((divided(torch.from_numpy(classes), GROUPS) == label).numpy() == (classes / 4 == label)).all()
    logits = np.random.default_rng(0).normal(size=(5, 16))
    assert np.allclose(averaged(torch.from_numpy(logits), GROUPS), logits.reshape(5, 4, 4).mean(2))
    labels = np.array([0, 1, 2, 3, 0])
    largest = logits.reshape(5, 4, 4).max(2)
    own = largest[np.arange(5), labels]
    largest[np.arange(5), labels] = -np.inf
    found = superclass_margin(torch.from_numpy(labels), GROUPS)(torch.from_numpy(logits))
    assert np.allclose(found, largest.max(1) - own)


def test_zero_shot_answers_of_a_linear_network() -> None:
    """Two superclasses of one class each: the attack on the superclass is the one of the margin, in closed form."""
    model = linear(2)
    weight, bias = weights(model)
    tests = labelled(60, torch.arange(60) % 2)
    found = answers(model, tests, [[0], [1]], EPS)
    logits = tests.images.double().numpy().reshape(60, -1) @ weight.T + bias
    labels = tests.labels.numpy()
    margin = logits[np.arange(60), labels] - logits[np.arange(60), 1 - labels]
    robust = margin > EPS * np.abs(weight[0] - weight[1]).sum()
    assert np.array_equal(found["floor"], margin > 0)
    assert np.array_equal(found["average"], margin > 0)
    for name in ("right", "right, no floor", "coarse", "coarse, no floor"):
        assert np.array_equal(found[name], robust)


def test_the_authors_score_counts_first_classes_only() -> None:
    model, tests = linear(8), labelled(60, torch.arange(60) % 2)
    groups = [[0, 1, 2, 3], [4, 5, 6, 7]]
    found = answers(model, tests, groups, EPS)
    for name in ("right", "coarse"):
        assert (found[name] | ~found[f"{name}, no floor"]).all()
    assert found["right"].sum() <= found["coarse"].sum()  # an attack on a class spares the superclass
    assert found["coarse, no floor"].sum() < found["coarse"].sum()


def test_augmented_images_are_crops_of_padded_ones_or_their_mirror_images() -> None:
    images = torch.rand(20, 2, 5, 6, generator=torch.Generator().manual_seed(0))
    found = augment(images, 3)
    assert torch.equal(found, augment(images, 3))
    assert not torch.equal(found, augment(images, 4))
    flips = 0
    for image, made in zip(images.numpy(), found.numpy(), strict=True):
        padded = np.pad(image, ((0, 0), (4, 4), (4, 4)))
        crops = [padded[:, top : top + 5, left : left + 6] for top in range(9) for left in range(9)]
        straight = any(np.array_equal(made, crop) for crop in crops)
        mirrored = any(np.array_equal(made, crop[:, :, ::-1]) for crop in crops)
        assert straight or mirrored
        flips += mirrored and not straight
    assert 0 < flips < 20


def test_settings_of_tuning() -> None:
    authors = tuning_of("authors", 2000)
    assert (authors.layers, authors.head, authors.beta, authors.steps) == ("all", "fresh", 2.0, 20 * 16)
    assert tuning_of("authors, head only", 2000).layers == "head"
    assert tuning_of("auditor adapt", 3).head == "sources"
