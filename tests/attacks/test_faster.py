"""FAB and Square as they run here against pyautoattack's own, with the same draws; the projection, too."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pyautoattack.fab_projections import projection_linf
from pyautoattack.fab_pt import FABAttack_PT
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from auditor.attacks.autoattack import run_autoattack
from auditor.attacks.fab import LinfFab, project_to_plane
from auditor.attacks.norms import L2
from auditor.attacks.protocols import Attack
from auditor.attacks.square import LinfSquare, SampleSquareL2, draw_signs


def _plane(seed: int, rows: int, pixels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Points at the box's faces and inside, normals with zeros, planes that are near, far and out of reach."""
    generator = torch.Generator().manual_seed(seed)
    points = (torch.rand(rows, pixels, generator=generator) * 1.6 - 0.3).clamp(0, 1)
    normals = torch.randn(rows, pixels, generator=generator) * (torch.rand(rows, pixels, generator=generator) > 0.2)
    offsets = (normals * points).sum(1) + 0.3 * pixels**0.5 * torch.randn(rows, generator=generator)
    return points, normals, offsets


@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 60))
def test_projection_is_pyautoattacks(seed: int, rows: int, pixels: int) -> None:
    points, normals, offsets = (part.double() for part in _plane(seed, rows, pixels))
    ours, theirs = project_to_plane(points, normals, offsets), projection_linf(points, normals, offsets)
    torch.testing.assert_close(ours, theirs.double(), atol=1e-6, rtol=1e-5)


@given(st.integers(0, 10**6), st.integers(1, 60))
def test_projection_is_the_smallest_move_to_the_plane(seed: int, pixels: int) -> None:
    points, normals, offsets = (part.double() for part in _plane(seed, 5, pixels))
    moved = points + project_to_plane(points, normals, offsets)
    assert moved.min() >= 0
    assert moved.max() <= 1
    left = ((normals * moved).sum(1) - offsets).abs()
    size = (moved - points).abs().amax(1)
    reaches = left <= 1e-9 * (1 + offsets.abs())
    # a pixel less than `size` away from where it was has met the box; else the plane is out of reach
    stopped = (moved <= 1e-12) | (moved >= 1 - 1e-12) | (normals == 0)
    short = (moved - points).abs() < size[:, None] - 1e-12
    assert (stopped | ~short)[reaches].all()
    assert stopped[~reaches].all()


def _network(channels: int) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(3)
    layers = nn.Conv2d(channels, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, stride=2), nn.ReLU(), nn.Flatten()
    network = nn.Sequential(*layers, nn.LazyLinear(6))
    images = torch.rand(40, channels, 16, 16)
    with torch.no_grad():
        network[-1].bias -= network(images).mean(0)  # all classes occur
        labels = network(images).argmax(1)
    return network.requires_grad_(False), images, labels


def _settings(eps: float) -> dict:
    return {"norm": "Linf", "eps": eps, "n_restarts": 1, "seed": 5, "device": torch.device("cpu")}


@pytest.mark.long
@pytest.mark.parametrize(("channels", "eps"), [(1, 0.05), (3, 0.02)])
def test_square_finds_the_same_images(channels: int, eps: float) -> None:
    network, images, labels = _network(channels)
    found = []
    for kind in (SquareAttack, LinfSquare):
        attack = kind(network, n_queries=300, resc_schedule=False, **_settings(eps))
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(5)
            attack.init_hyperparam(images)
            found.append(attack.attack_single_run(images.clone(), labels.clone()))
            found.append(torch.rand(1))
    (queries, theirs), drawn, (our_queries, ours), our_drawn = found
    broken = (network(theirs).argmax(1) != labels).sum()
    assert 0 < broken < len(images)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    assert torch.equal(our_queries, queries)
    assert drawn == our_drawn


@pytest.mark.long
@pytest.mark.parametrize(("channels", "eps"), [(1, 0.01), (3, 0.005)])
def test_fab_finds_the_same_images_up_to_rounding(channels: int, eps: float) -> None:
    network, images, labels = _network(channels)
    found = []
    for kind in (FABAttack_PT, LinfFab):
        attack = kind(network, n_iter=20, targeted=True, n_target_classes=3, **_settings(eps))
        with torch.random.fork_rng(), torch.no_grad():
            found.append(attack.perturb(images.clone(), labels.clone()))
    theirs, ours = found
    broken = (network(theirs).argmax(1) != labels).sum()
    assert 0 < broken < len(images)
    assert torch.equal(network(ours).argmax(1), network(theirs).argmax(1))
    sizes = ((one - images).flatten(1).abs().amax(1) for one in (ours, theirs))
    torch.testing.assert_close(*sizes, atol=1e-4, rtol=1e-2)
    assert ((ours - theirs).abs() < 1e-4).double().mean() > 0.999  # rounding may lead a pixel elsewhere


@pytest.mark.long
@pytest.mark.parametrize(
    ("attack", "theirs"),
    [
        (Attack("fab-t", "autoattack", {"iterations": 100, "restarts": 1, "targets": 3}), FABAttack_PT),
        (Attack("square", "autoattack", {"queries": 300, "restarts": 1}), SquareAttack),
    ],
)
def test_l2_is_attacked_by_pyautoattack_itself(attack: Attack, theirs: type, monkeypatch: pytest.MonkeyPatch) -> None:
    network, images, labels = _network(1)
    eps = 0.1 if attack.name == "fab-t" else 0.3
    settings = {"norm": "L2", "eps": eps, "n_restarts": 1, "seed": 0, "device": torch.device("cpu")}
    fab = {"n_iter": 100, "targeted": True, "n_target_classes": 3}
    own = fab if attack.name == "fab-t" else {"n_queries": 300, "resc_schedule": False}
    with torch.random.fork_rng(), torch.no_grad():
        expected = theirs(network, **settings, **own).perturb(images.clone(), labels.clone())
        monkeypatch.delattr(LinfFab, "_descend")
        monkeypatch.delattr(LinfSquare, "_margins")
        found = run_autoattack(network, attack, images, labels, norm=L2, eps=eps, seed=0)
    assert 0 < (network(found).argmax(1) != labels).sum() < len(images)
    assert torch.equal(found, expected)


def test_square_by_sample_in_l2_is_pyautoattacks_with_the_same_signs() -> None:
    """Each sample alone, with pyautoattack's random signs replaced by those drawn by sample; in float64."""
    generator = torch.Generator().manual_seed(0)
    weights = [torch.randn(size, generator=generator, dtype=torch.float64) for size in ((450, 32), (32, 5))]

    def predict(x: Tensor) -> Tensor:
        return (x.double().flatten(1) @ weights[0] / 10).tanh() @ weights[1]

    images = torch.rand(6, 2, 15, 15, generator=generator, dtype=torch.float64)
    labels, numbers, queries = predict(images).argmax(1), torch.tensor([3, 9, 4, 1, 12, 7]), 60
    settings = {"norm": "L2", "eps": 0.2, "n_queries": queries, "seed": 5, "device": images.device}
    ours = SampleSquareL2(predict, **settings)
    ours.init_hyperparam(images)
    ours.numbers = numbers
    used, found = ours.attack_single_run(images, labels)
    assert 0 < int((used <= queries).sum()) < 6
    for row in range(6):
        one = slice(row, row + 1)
        theirs = SquareAttack(predict, **settings)
        theirs.init_hyperparam(images[one])
        signs = torch.cat(
            [
                draw_signs(numbers[one], 5, (5, 5, 2), "tiles").view(-1, 2),
                draw_signs(numbers[one], 5, (queries, 2)).view(-1, 2),
            ]
        )
        each = iter(signs.double().view(-1, 1, 2, 1, 1))
        theirs.random_choice = lambda _, each=each: next(each)
        torch.manual_seed(5)
        expected_used, expected = theirs.attack_single_run(images[one].clone(), labels[one])
        assert used[row] == expected_used[0]
        torch.testing.assert_close(found[one], expected, atol=1e-4, rtol=0)
