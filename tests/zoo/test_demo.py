"""The shipped zoo is what its manifest says and what its recipes make."""

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from auditor.errors import EnvironmentUnusableError, ModelLoadError, UsageError
from auditor.zoo import find_source, select
from auditor.zoo.demo import WEIGHTS, DemoZoo
from auditor.zoo.demo.build import is_built
from auditor.zoo.demo.recipes import DEMO_MODELS
from auditor.zoo.digest import state_dict_digest

MANIFEST = {row["name"]: row for row in json.loads((WEIGHTS / "manifest.json").read_text())["models"]}


def test_there_are_at_least_eleven_models_and_the_manifest_names_them_all() -> None:
    assert len(DEMO_MODELS) >= 11
    assert list(MANIFEST) == [model.name for model in DEMO_MODELS]
    assert {file.stem for file in WEIGHTS.glob("*.safetensors")} == MANIFEST.keys()


@pytest.mark.parametrize("model", DEMO_MODELS, ids=lambda model: model.name)
def test_digest_size_and_recipe(model: object) -> None:
    row, file = MANIFEST[model.name], WEIGHTS / f"{model.name}.safetensors"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == row["file_sha256"]
    assert state_dict_digest(load_file(file)) == row["weights_sha256"]
    assert file.stat().st_size < 400_000
    assert row["recipe"] == dataclasses.asdict(model.recipe)
    assert is_built(model, row, WEIGHTS)
    assert not is_built(dataclasses.replace(model, recipe=dataclasses.replace(model.recipe, seed=99)), row, WEIGHTS)


def test_the_whole_zoo_is_small() -> None:
    assert sum(file.stat().st_size for file in WEIGHTS.iterdir()) < 5_000_000


def test_each_model_has_a_seed_of_its_own() -> None:
    assert len({model.recipe.seed for model in DEMO_MODELS}) == len(DEMO_MODELS)


@pytest.mark.long
@pytest.mark.parametrize("entry", DemoZoo().entries(), ids=lambda entry: entry.model)
def test_each_model_loads_and_classifies(entry: object, demo_images: tuple) -> None:
    loaded = DemoZoo().load(entry)
    images, labels = demo_images
    assert not loaded.model.training
    assert loaded.weights_sha256 == MANIFEST[entry.model.removeprefix("demo:")]["weights_sha256"]
    with torch.no_grad():
        accuracy = (loaded.model(images).argmax(1) == labels).float().mean().item()
    validation = MANIFEST[entry.model.removeprefix("demo:")]["validation"]
    assert accuracy == pytest.approx(validation["clean_accuracy"], abs=0.04)


def _copy(folder: Path, name: str, change: object) -> DemoZoo:
    """The zoo with one file changed, and the manifest's digest of it brought up to date."""
    manifest = json.loads((WEIGHTS / "manifest.json").read_text())
    state = load_file(WEIGHTS / f"{name}.safetensors")
    save_file(change(state), folder / f"{name}.safetensors")
    digest = hashlib.sha256((folder / f"{name}.safetensors").read_bytes()).hexdigest()
    manifest["models"] = [row | {"file_sha256": digest} for row in manifest["models"] if row["name"] == name]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return DemoZoo(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda state: state | {"head.bias": torch.full((10,), torch.nan)},
            "head.bias holds values that are not finite",
        ),
        (lambda state: state | {"head.weight": torch.ones(7, 64)}, r"expected head.weight of shape \(10, 64\)"),
        (lambda state: state | {"extra": torch.ones(1)}, "the first is 'extra'"),
        (lambda state: {k: v for k, v in state.items() if k != "head.bias"}, "the first is 'head.bias'"),
    ],
    ids=["nan", "wrong class count", "extra key", "missing key"],
)
def test_weights_that_do_not_fit(tmp_path: Path, change: object, message: str) -> None:
    zoo = _copy(tmp_path, "standard", change)
    with pytest.raises(ModelLoadError, match=message):
        zoo.load(zoo.entries()[0])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda file: file.unlink(), "cannot read the weights"),
        (lambda file: file.write_bytes(file.read_bytes()[:-7]), "expected SHA-256"),
        (lambda file: file.write_text("<html>not here</html>"), "expected SHA-256"),
    ],
    ids=["missing", "truncated", "html"],
)
def test_files_that_are_not_the_ones_meant(tmp_path: Path, damage: object, message: str) -> None:
    zoo = _copy(tmp_path, "standard", lambda state: state)
    damage(tmp_path / "standard.safetensors")
    with pytest.raises(ModelLoadError, match=message):
        zoo.load(zoo.entries()[0])


def test_a_truncated_file_is_refused_also_without_a_digest(tmp_path: Path) -> None:
    from auditor.zoo.weights import read_safetensors

    whole = (WEIGHTS / "standard.safetensors").read_bytes()
    for length in (0, 5, 100, len(whole) - 1):
        (tmp_path / "part.safetensors").write_bytes(whole[:length])
        with pytest.raises(ModelLoadError, match="not a complete safetensors file"):
            read_safetensors(tmp_path / "part.safetensors")


@pytest.mark.parametrize("content", [None, "{", "[]", '{"eps": 0.1, "models": [{}]}'])
def test_a_manifest_that_cannot_be_read(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(EnvironmentUnusableError, match="manifest"):
        DemoZoo(tmp_path).entries()


def test_unknown_names_suggest_near_ones() -> None:
    entries = DemoZoo().entries()
    with pytest.raises(UsageError, match=r"did you mean at-eps0\.10"):
        select(entries, models=["demo:at-eps010"])
    with pytest.raises(UsageError, match="did you mean standard"):
        select(entries, models=["standart"])
    with pytest.raises(UsageError, match="auditor zoo list"):
        select(entries, models=["qqqqqqqqq"])
    with pytest.raises(UsageError, match="the filters match none of"):
        select(entries, match="nothing*")
    with pytest.raises(UsageError, match="expected one of: demo"):
        find_source("model-zoo")


def test_filters() -> None:
    entries = DemoZoo().entries()
    assert [e.model for e in select(entries, models=["demo:noise", "standard"])] == ["demo:noise", "demo:standard"]
    assert len(select(entries, match="at-*")) == len(select(entries, match="demo:at-*")) == 5
    assert len(select(entries, limit=3)) == 3
    assert select(entries, dataset="fashion_mnist", threat_model="Linf") == entries


def test_the_documented_figures_are_the_manifests() -> None:
    text = (Path(__file__).parent.parent.parent / "docs" / "demo-zoo.md").read_text()
    for name, row in MANIFEST.items():
        (line,) = [line for line in text.splitlines() if line.startswith(f"| `{name}` ")]
        validation = row["validation"]
        figures = [row["recipe"]["seed"], f"{100 * validation['clean_accuracy']:.1f}"]
        figures += [f"{100 * accuracy:.1f}" for accuracy in validation["pgd20_accuracy"].values()]
        assert {str(figure) for figure in figures} <= {cell.strip() for cell in line.split("|")}
