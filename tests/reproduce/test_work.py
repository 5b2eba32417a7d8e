"""The work folder: parts are measured once, trainings resume, and nothing of another key is used."""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from auditor.errors import MeasurementError, UsageError
from auditor.records.boosts import Recipe
from auditor.reproduce.training import Plan, TrainingSet, restore, train
from auditor.reproduce.work import Work


def test_a_part_is_measured_once(tmp_path: Path) -> None:
    work, calls = Work(tmp_path / "work"), []

    def measure() -> dict[str, object]:
        calls.append(1)
        return {"value": 0.1, "undefined": math.nan, "matrix": [[1.0, 2.0]]}

    first = work.part("x", {"seed": 1}, measure)
    again = Work(tmp_path / "work").part("x", {"seed": 1}, measure)
    assert len(calls) == 1
    assert math.isnan(again.pop("undefined"))
    assert {**again} == {"value": first["value"], "matrix": [[1.0, 2.0]]}
    work.part("x", {"seed": 2}, measure)
    work.part("y", {"seed": 1}, measure)
    assert len(calls) == 3


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"key": "other", "result": {}}', b"\xff"])
def test_a_damaged_part_is_measured_again(content: bytes, tmp_path: Path) -> None:
    work = Work(tmp_path)
    work.part("x", {}, lambda: {"value": 1})
    (file,) = (tmp_path / "parts").iterdir()
    file.write_bytes(content)
    assert work.part("x", {}, lambda: {"value": 2}) == {"value": 2}
    assert work.part("x", {}, lambda: {"value": 3}) == {"value": 2}


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="expected a folder for --work, got the file"):
        Work(tmp_path / "file")


@pytest.fixture
def data() -> TrainingSet:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(32) % 4
    images = (torch.rand(32, 1, 12, 12, generator=generator) * 50 + 50 * labels[:, None, None, None]).to(torch.uint8)
    return TrainingSet(images=images, labels=labels, superclasses=("a", "a", "b", "b"), digest="made")


def plan(**changes: object) -> Plan:
    recipe = Recipe(method="at", eps=0.1, steps=1, step_size=0.1, epochs=3, batch_size=16, max_lr=0.05, beta=0.5)
    return Plan(name="small", family="vgg", width=0.34, recipe=dataclasses.replace(recipe, **changes))


def test_an_interrupted_training_goes_on_from_its_last_epoch(tmp_path: Path, data: TrainingSet) -> None:
    whole = train(Work(tmp_path / "whole"), plan(), data)
    lines: list[str] = []

    def interrupt(line: str) -> None:
        lines.append(line)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(Work(tmp_path / "part", interrupt), plan(), data)
    torch.rand(7)  # the caller's random numbers make no difference
    resumed = train(Work(tmp_path / "part", lines.append), plan(), data)
    assert [line.split(",")[0] for line in lines] == [f"small: epoch {number}/3" for number in (1, 2, 3)]
    assert len(whole) == len(resumed) == 3
    for one, other in zip(whole, resumed, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert train(Work(tmp_path / "part", interrupt), plan(), data)[2].keys() == whole[2].keys()
    x = torch.rand(3, 1, 12, 12)
    assert torch.equal(restore(plan(), data, whole[2])(x), restore(plan(), data, resumed[2])(x))


@pytest.mark.parametrize("change", [{"seed": 1}, {"beta": 0.0}, {"eps": 0.05}, {"method": "standard"}])
def test_another_training_has_other_weights(change: dict[str, object], tmp_path: Path, data: TrainingSet) -> None:
    work = Work(tmp_path)
    first, second = (train(work, one, data)[-1] for one in (plan(epochs=1), plan(epochs=1, **change)))
    assert any(not torch.equal(first[name], second[name]) for name in first)
    assert len(list((tmp_path / "trainings").iterdir())) == 2
    other = dataclasses.replace(data, labels=data.labels.roll(1), digest="other")
    assert any(not torch.equal(first[name], weight) for name, weight in train(work, plan(epochs=1), other)[-1].items())


def test_a_training_that_diverges_is_one_line(tmp_path: Path, data: TrainingSet) -> None:
    with pytest.raises(
        MeasurementError, match=r"the loss of small was not finite in epoch \d: try a lower learning rate"
    ):
        train(Work(tmp_path), plan(max_lr=1e30, method="standard", beta=0.0), data)
    assert np.isfinite(train(Work(tmp_path), plan(epochs=1), data)[0]["1.0.weight"].numpy()).all()
