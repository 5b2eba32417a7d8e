"""Adaptation of models of each source: whose last layer can be replaced is adapted, others are refused in one line."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers", reason="needs transformers: pip install 'auditor[hub]'")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # timm 1.0.9 uses what torch has since deprecated
    import timm  # noqa: F401

from auditor.adapt import adapt, superclass_head
from auditor.errors import DataError, InputError
from auditor.records import ZooEntry
from auditor.records.adaptations import AdaptRequest, AdaptResult, Tuning
from auditor.records.assignments import Assignment
from auditor.zoo import LoadedModel, Source
from tests.factories.sources import onnx_folded, pictures, program, timms_network, torchvision, transformers

Make = Callable[[Path], tuple[Source, ZooEntry]]


def adapted(make: Make, folder: Path, *, path: bool = True) -> tuple[AdaptResult, LoadedModel]:
    source, entry = make(folder)
    assert entry.own_data is not None
    size = entry.input_size[1]
    tests, names = pictures(folder, "test.npz", 2, 40, size), entry.own_data.classes
    entry = replace(entry, own_data=replace(entry.own_data, path=str(tests) if path else None))
    classes = (f"{names[0]} | {names[2]}", f"{names[1]} | {names[3]}")
    request = AdaptRequest(
        assignment=Assignment.parse(entry.dataset, "tree | flower", *classes), start=entry.model, shots=(0, 2),
        held_out=8, eps=0.02, tuning=Tuning(steps=3),
    )  # fmt: skip
    loaded = source.load(entry)
    return adapt(request, given=(entry, loaded), folder=pictures(folder, "train.npz", 1, 80, size)), loaded


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")  # of torch's exporters
@pytest.mark.parametrize("make", [torchvision, transformers, timms_network, onnx_folded])
def test_a_model_is_adapted_by_the_mean_of_its_own_logits(make: Make, tmp_path: Path) -> None:
    result, loaded = adapted(make, tmp_path)
    assert [score.shots for score in result.scores] == [0, 2]
    assert all(score.adapted.n == 8 for score in result.scores)
    images = torch.rand(3, *make(tmp_path)[1].input_size)
    head = superclass_head(loaded.model, [[0, 1], [2, 3]], images)
    with torch.no_grad():
        logits = loaded.model(images)
        expected = torch.stack([logits[:, :2].mean(1), logits[:, 2:4].mean(1)], 1)
        torch.testing.assert_close(head.model(images), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_a_program_has_no_layer_to_replace(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"linear layer of 4 classes, got none in it; a program .* original network"):
        adapted(program, tmp_path)


def test_a_snapshot_with_labels_of_its_own_has_no_test_images(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the test images of vit have no location: describe the model in a local zoo"):
        adapted(transformers, tmp_path, path=False)
