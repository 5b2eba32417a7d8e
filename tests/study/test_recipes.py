"""The study zoo's design, and that a recipe and its seed decide the weights."""

import dataclasses
import json
from collections import Counter
from pathlib import Path

import pytest
import torch

from auditor.linear import class_correlation
from auditor.records.boosts import Recipe
from auditor.zoo.digest import state_dict_digest
from benchmarks.study import data as data_sets
from benchmarks.study.costs import cost_of, needs_data
from benchmarks.study.data import DataSet
from benchmarks.study.networks import FAMILIES
from benchmarks.study.recipes import (
    DATA_SETS,
    EPS,
    FINAL_FAMILIES,
    FINAL_SEEDS,
    MODELS,
    StudyModel,
    trainings,
)
from benchmarks.study.rows import append_row, read_rows
from benchmarks.study.training import train


def test_every_family_has_every_training_on_both_data_sets_and_there_are_further_seeds() -> None:
    cells = Counter((model.data, model.family, model.training) for model in MODELS)
    assert set(cells) >= {(d, f, t) for d in DATA_SETS for f in FAMILIES for t in trainings(d)}
    assert len(MODELS) >= 96
    assert max(cells.values()) > 1
    assert len(FAMILIES) >= 8
    assert len({model.name for model in MODELS}) == len(MODELS)
    assert len({model.recipe.seed for model in MODELS}) == len(MODELS)
    for model in MODELS:
        model.recipe.check()


def test_the_final_set_has_families_and_seeds_of_its_own() -> None:
    final = [model for model in MODELS if model.final]
    assert {model.family for model in final} >= set(FINAL_FAMILIES)
    assert any(model.recipe.seed >= FINAL_SEEDS and model.family not in FINAL_FAMILIES for model in final)
    assert not any(model.family in FINAL_FAMILIES for model in MODELS if not model.final)


def test_the_first_models_are_spread_over_families_and_trainings() -> None:
    early = MODELS[: 7 * 9]
    assert {model.family for model in early} == set(FAMILIES) - set(FINAL_FAMILIES)
    assert {model.data for model in early} == set(DATA_SETS)
    assert {model.training for model in early} == {"standard", "at", "at-half", "noise", "trades"}
    everything = {(m.family, m.training) for m in MODELS[: 9 * 15]}
    assert everything == {(f, t) for f in set(FAMILIES) - set(FINAL_FAMILIES) for t in trainings("glyphs")}


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize(("channels", "size", "classes"), [(1, 28, 10), (3, 32, 12)])
def test_networks_can_be_built_and_linearized(family: str, channels: int, size: int, classes: int) -> None:
    torch.manual_seed(0)
    network = FAMILIES[family](channels, size, classes, 0.5).eval()
    assert network(torch.rand(2, channels, size, size)).shape == (2, classes)
    assert torch.isfinite(class_correlation(network, (channels, size, size))).all()


def tiny(name: str = "fashion_mnist") -> DataSet:
    random = torch.Generator().manual_seed(0)
    images, labels = torch.rand(260, 1, 28, 28, generator=random), torch.arange(260) % 4
    return DataSet(name, images, labels, images[:8], labels[:8], ("a", "a", "b", "b"), EPS[name])


@pytest.mark.long
@pytest.mark.parametrize("training", sorted(trainings("fashion_mnist")))
def test_a_recipe_and_its_seed_give_the_same_weights_again(training: str) -> None:
    model = next(m for m in MODELS if m.family == "plain" and m.training == training)
    first, again = (state_dict_digest(train(model, tiny())[0].state_dict()) for _ in range(2))
    assert first == again
    other = StudyModel(model.data, "plain", training, changed_seed(model), 1.0, model.jacobian)
    assert state_dict_digest(train(other, tiny())[0].state_dict()) != first


def changed_seed(model: StudyModel) -> Recipe:
    return dataclasses.replace(model.recipe, seed=model.recipe.seed + 5000)


def test_glyphs_are_drawn_alike_from_a_seed() -> None:
    glyphs = pytest.importorskip("benchmarks.study.glyphs")
    if not (glyphs.FONTS / "freefont" / "FreeMono.ttf").is_file():
        pytest.skip("the fonts of Debian's fonts-freefont-ttf are not installed")
    (one, labels), (other, _) = glyphs.make(36, 3), glyphs.make(36, 3)
    assert torch.equal(one, other)
    assert one.shape == (36, 3, 32, 32)
    assert 0 <= one.min() <= one.max() <= 1
    assert labels.bincount().tolist() == [3] * 12
    assert len(glyphs.SUPERCLASSES) == 12
    assert not torch.equal(one, glyphs.make(36, 4)[0])


def test_rows_keep_what_is_not_a_number(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    append_row({"a": float("nan"), "b": [float("inf"), 0.123456789], "c": 3}, path)
    (text,) = path.read_text().splitlines()
    assert json.loads(text) == {"a": None, "b": ["inf", 0.123457], "c": 3}
    (row,) = read_rows(path)
    assert row["a"] != row["a"]
    assert row["b"] == [float("inf"), 0.123457]
    assert read_rows(tmp_path / "none.jsonl") == []


def test_every_measure_of_the_rows_has_its_cost() -> None:
    names = {name for row in read_rows() for name in row["measures"]}
    assert len(names) >= 12
    assert all(cost_of(name) for name in names)
    assert {name for name in names if needs_data(name)} >= {"margin/data", "great", "clever", "separation"}
    assert not needs_data("margin/smooth")


def test_an_unknown_data_set_is_an_error() -> None:
    with pytest.raises(ValueError, match="fashion_mnist or glyphs"):
        data_sets.load("mnist")
