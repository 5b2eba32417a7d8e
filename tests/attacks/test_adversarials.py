"""The images that broke a model: in the budget when read again, wrong when shown again, whole or not there at all."""

import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from auditor.attacks import PROTOCOLS, Protocol, adversarials_file, evaluate_robustness
from auditor.attacks.adversarials import Adversarials, keep_adversarials, save_adversarials
from auditor.attacks.protocols import Attack
from auditor.audit.run import AuditRequest
from auditor.audit.task import Measurement, measure
from auditor.data import load_images
from auditor.records import AuditRecord, JobContext
from auditor.zoo.demo import DemoZoo
from tests.factories.attacked_models import Linear, OutOfMemory, Wrapped, distances
from tests.factories.command import run


def _images(model: Linear, n: int = 60) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.rand(n, 1, 6, 6, generator=torch.Generator().manual_seed(3))
    labels = model(images).argmax(1)
    labels[::10] = (labels[::10] + 1) % 5
    return images, labels


BOTH_ENGINES = Protocol(
    "own",
    60,
    (
        Attack("square", "autoattack", {"queries": 20, "restarts": 1}),
        PROTOCOLS["quick"].attacks[0],
        Attack("apgd-ce", "autoattack", {"iterations": 100, "restarts": 1}),
        PROTOCOLS["quick"].attacks[1],
    ),
    "attacks of both engines, each of which breaks some",
)


@pytest.mark.long
@pytest.mark.parametrize("norm", ["Linf", "L2"])
@pytest.mark.parametrize("protocol", ["quick", BOTH_ENGINES], ids=["quick", "both engines"])
def test_what_is_kept_broke_the_sample_within_the_budget(norm: str, protocol: str | Protocol) -> None:
    model = Linear(5)
    images, labels = _images(model)
    reach = distances(model, images, labels, norm)
    eps = reach[reach > 0].median().item()
    clear = (reach - eps).abs() > 0.02 * eps  # those on the very edge are decided by rounding
    images, labels = images[clear], labels[clear]
    numbers = list(range(1000, 1000 + len(images)))
    asked = {"norm": norm, "eps": eps, "protocol": protocol, "indices": numbers, "batch_size": 16}
    result = evaluate_robustness(model, images, labels, keep=True, **asked)
    plain = evaluate_robustness(model, images, labels, **asked)
    assert plain.adversarials is None
    assert torch.equal(plain.survived, result.survived)
    found = result.adversarials
    broken = (result.correct & ~result.survived).numpy()
    np.testing.assert_array_equal(found.indices, np.array(numbers)[broken])
    np.testing.assert_array_equal(found.labels, labels.numpy()[broken])
    assert {score.attack: score.broken for score in result.attacks if score.broken} == {
        name: int((found.attacks == name).sum()) for name in set(found.attacks)
    }
    delta = (found.images - images.numpy()[broken]).reshape(len(found.images), -1)
    sizes = np.abs(delta).max(1) if norm == "Linf" else np.linalg.norm(delta, axis=1)
    assert sizes.max() <= eps * (1 + 1e-5) + 2e-7
    assert 0 <= found.images.min() <= found.images.max() <= 1
    logits = found.images.reshape(len(found.images), -1) @ model.weight.detach().numpy().T + model.bias.detach().numpy()
    np.testing.assert_array_equal(logits.argmax(1), found.predicted)
    assert (found.predicted != found.labels).all()
    for one in (result, plain):  # every sample's class, and the attack that broke it
        expected = (images.reshape(len(images), -1) @ model.weight.T + model.bias).argmax(1).numpy()
        expected[broken] = found.predicted
        np.testing.assert_array_equal(one.predicted, expected)
        assert [one.attacks[k].attack for k in one.broken_at[broken]] == found.attacks.tolist()
        assert (one.broken_at[~broken] == -1).all()


def test_memory_that_runs_out_leaves_each_sample_once() -> None:
    model = OutOfMemory(limit=9)
    images, labels = _images(model.inner)
    result = evaluate_robustness(
        model, images, labels, norm="Linf", eps=0.05, protocol="quick", batch_size=32, keep=True
    )
    assert len(result.adversarials.indices) == int((result.correct & ~result.survived).sum())
    assert len(set(result.adversarials.indices)) == len(result.adversarials.indices)
    np.testing.assert_array_equal(result.predicted[result.broken_at >= 0], result.adversarials.predicted)


def test_where_nothing_breaks_the_arrays_are_empty(tmp_path: Path) -> None:
    model = Wrapped("none")
    images, labels = _images(model.inner)
    found = evaluate_robustness(model, images, labels, norm="Linf", eps=1e-6, protocol="quick", keep=True).adversarials
    save_adversarials(tmp_path / "a.npz", found)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as read:
        assert read["images"].shape == (0, 1, 6, 6)
        assert [len(read[name]) for name in ("indices", "labels", "predicted", "attacks")] == [0] * 4


def _measured(folder: Path) -> AuditRecord | None:
    zoo = DemoZoo()
    chosen = next(entry for entry in zoo.entries() if entry.model == "demo:at-eps0.05")
    request = Measurement(audit=AuditRequest(protocol="quick", batch_size=32), samples=60, adversarials=folder)
    return measure(zoo, chosen, request, JobContext())


def _check_demo_file(file: Path, robust: float) -> None:
    """The saved file against the shipped images and the model itself, and nothing that wrote it."""
    with np.load(file, allow_pickle=False) as read:
        saved = {name: read[name] for name in read.files}
    assert saved["images"].dtype == np.float32
    clean = load_images("fashion_mnist", 60)
    place = {number: position for position, number in enumerate(clean.indices.tolist())}
    chosen = [place[number] for number in saved["indices"].tolist()]
    np.testing.assert_array_equal(saved["labels"], clean.labels[chosen])
    assert saved["clean"].dtype == np.uint8
    np.testing.assert_array_equal(saved["clean"].astype(np.float32) / np.float32(255), clean.images[chosen])
    assert np.abs(saved["images"].astype(np.float64) - clean.images[chosen]).max() <= 0.1 * (1 + 1e-5) + 2e-7
    assert 0 <= saved["images"].min() <= saved["images"].max() <= 1
    zoo = DemoZoo()
    model = zoo.load(next(entry for entry in zoo.entries() if entry.model == "demo:at-eps0.05")).model.eval()
    with torch.no_grad():
        predicted = model(torch.from_numpy(saved["images"])).argmax(1).numpy()
        right = (model(torch.from_numpy(clean.images)).argmax(1).numpy() == clean.labels).sum()
    np.testing.assert_array_equal(predicted, saved["predicted"])
    assert (predicted != saved["labels"]).all()
    assert right - len(chosen) == round(60 * robust)
    assert set(saved["attacks"].tolist()) <= {"fgsm", "pgd-20"}
    assert (str(saved["model"]), str(saved["norm"]), float(saved["eps"])) == ("demo:at-eps0.05", "Linf", 0.1)


@pytest.mark.long
def test_a_measurement_in_a_child_process_writes_its_file(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        record = pool.apply(_measured, (tmp_path / "new",))
    (file,) = (tmp_path / "new").iterdir()
    assert file == adversarials_file(tmp_path / "new", record.entry.model, record.identity)
    assert file.name == f"demo_at-eps0.05-{record.identity[:12]}.npz"
    assert record.adversarials == str(file)
    _check_demo_file(file, record.robust_accuracy)


@pytest.mark.long
def test_a_scan_writes_a_file_a_model_and_says_what_it_reused(tmp_path: Path) -> None:
    chosen = ("scan", "demo", "--model", "at-eps0.05", "--model", "noise", "--samples", "60")
    first = run(*chosen, "--save-adversarials", "kept")
    assert first.exit_code == 0
    assert f"adversarial images of 2 models in {tmp_path}/kept" in first.stderr
    files = sorted((tmp_path / "kept").iterdir())
    assert [file.name.rsplit("-", 1)[0] for file in files] == ["demo_at-eps0.05", "demo_noise"]
    for file in files:
        file.unlink()
    again = run(*chosen, "--save-adversarials", "kept")
    assert "demo:noise: no adversarial images written, the audit was done before; --force repeats it" in again.stderr
    assert list((tmp_path / "kept").iterdir()) == []
    assert run(*chosen, "--save-adversarials", "kept", "--force").exit_code == 0
    assert sorted((tmp_path / "kept").iterdir()) == files


@pytest.mark.parametrize("folder", ["/proc/none", "file"])
def test_a_folder_that_cannot_be_written_is_said_before_anything_runs(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file").write_text("")
    result = run("scan", "demo", "--save-adversarials", folder)
    assert result.exit_code == 2
    assert "1/" not in result.stderr


def _one() -> Adversarials:
    number = np.array([1])
    return Adversarials(np.zeros((1, 1, 2, 2), np.float32), number, number, number, np.array(["fgsm"]))


def test_a_write_that_fails_leaves_nothing_and_is_a_note(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    names = {"model": "timm:a/b c", "identity": "0123456789abcdef", "norm": "Linf", "eps": 0.1}
    path, notes = keep_adversarials(tmp_path / "kept", _one(), **names)
    (before,) = (tmp_path / "kept").iterdir()
    assert (path, notes) == (str(before), [])
    assert before.name == "timm_a_b_c-0123456789ab.npz"
    assert before.stat().st_mode & 0o777 == 0o666 & ~_umask()
    monkeypatch.setattr(np, "savez", full)
    path, notes = keep_adversarials(tmp_path / "kept", _one(), **names)
    assert path is None
    assert "No space left" in notes[0]
    assert [file.name for file in (tmp_path / "kept").iterdir()] == [before.name]
    with np.load(before, allow_pickle=False) as read:
        assert read["attacks"].tolist() == ["fgsm"]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
