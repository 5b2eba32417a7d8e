"""The model card: the hub's own parser reads it, and it says what the row says, in words."""

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from auditor.checkpoints.card import model_card
from auditor.checkpoints.configs import crop_fraction
from auditor.checkpoints.origin import Origin, origin_of
from auditor.checkpoints.wording import recipe_words, verdict_words
from auditor.records import CustomData, ZooEntry
from auditor.zoo import find_source
from tests.factories.checkpoint_rows import NO_GAIN, NOT_AUDITED, RECIPE, audit, paired, row


@pytest.fixture
def began() -> ZooEntry:
    return next(entry for entry in find_source("demo").entries() if entry.model == "demo:standard")


def card_of(began: ZooEntry, origin: Origin | None = None, **changes: Any) -> ModelCard:
    entry = replace(began, model="checkpoint:7", source="checkpoint")
    return ModelCard(model_card(row(Path("kept/7"), **changes), entry, began, origin or origin_of(began)))


def test_the_hubs_parser_reads_it_and_finds_the_results(began: ZooEntry) -> None:
    data = card_of(began).data
    assert data.license == "mit"
    assert data.library_name is None
    assert data.datasets == ["zalando-datasets/fashion_mnist"]
    assert {"adversarial-robustness", "significant-gain"} < set(data.tags)
    clean, robust = data.eval_results
    assert (clean.metric_value, robust.metric_value) == (0.8, 0.47)
    assert "Linf 8/255, protocol standard, 1,000 images" in robust.metric_name
    assert (robust.dataset_name, robust.task_type) == ("Fashion-MNIST", "image-classification")
    assert card_of(began).data.to_dict()["model-index"][0]["name"] == "checkpoint-7"


def test_all_that_belongs_to_it_is_there(began: ZooEntry) -> None:
    text = card_of(began, model="checkpoint:3", lineage=["demo:standard", "checkpoint:3"]).text
    assert "demo:standard → checkpoint:3 → checkpoint:7" in text
    assert "SHA-256 of the file model.safetensors" in text
    assert "a" * 64 in text
    assert "b" * 64 in text
    for name, value in row(Path()).recipe.items():
        assert f"- {name}: {value}" in text
    for words in (
        "Seed 5",
        "timm: 1.0.9",
        "The weights are those of epoch 1",
        "41.0 % (38.0 % to 44.0 %)",
        "| 0 | – | 90.0 % | 40.0 % | – |",
    ):
        assert words in text, words
    assert "40 were robust only before and 100 only after: a difference of +6.0 points" in text
    assert "p < 0.001" in text
    assert "first 1000" not in text
    assert "It is not a certificate" in text


@pytest.mark.parametrize(
    ("changes", "said", "tag"),
    [
        ({}, "Significant gain: against demo:standard", "significant-gain"),
        (NO_GAIN, "No significant gain: against demo:standard", "no-significant-gain"),
        ({"verdict": "significant loss", "comparison": paired(90, 20)}, "Significant loss", "significant-loss"),
        (NOT_AUDITED, "Not audited: it is not known whether this checkpoint is more robust", "not-audited"),
    ],
    ids=["gain", "no gain", "loss", "not audited"],
)
def test_the_verdict_is_the_first_that_is_read(began: ZooEntry, changes: Any, said: str, tag: str) -> None:
    card = card_of(began, **changes)
    assert card.text.strip().splitlines()[2].startswith(f"**{said}")
    assert tag in card.data.tags
    assert (card.data.eval_results is None) == ("not" in tag.split("-")[0])


def test_a_boost_that_did_not_help_says_so_with_its_numbers() -> None:
    words = verdict_words(row(Path(), **NO_GAIN))
    assert "+1.0 points (95 % interval −1.0 to +3.0; McNemar's exact test: p = 0.368)" in words
    assert "there is no evidence that fine-tuning helped" in words
    assert "reduced the robustness" in verdict_words(row(Path(), verdict="significant loss"))


def test_flagged_numbers_are_called_so_and_enter_no_leaderboard(began: ZooEntry) -> None:
    card = card_of(began, after=audit(4, 0.9, flags=["gradients vanish"]))
    assert card.data.eval_results is None
    assert "checkpoint:7 (gradients vanish) is flagged: its numbers cannot be trusted" in card.text.replace("\\", "")


def test_one_audit_alone_and_what_was_not_measured(began: ZooEntry) -> None:
    gone = audit(4, 0.5, gap=None, robust_accuracy=None, robust_low=None, robust_high=None)
    text = card_of(began, verdict="not audited", before=None, after=gone, comparison=None).text
    assert "| robust accuracy (95 % interval) | – | – |" in text
    assert "| audit | not audited | 4 |" in text


@pytest.mark.parametrize(
    ("origin", "license", "said"),
    [
        (Origin("cc-by-nc-4.0", "timm's pretrained_cfg", "timm/x"), "cc-by-nc-4.0", "forbids commercial use"),
        (
            Origin("apache-2.0", "timm's pretrained_cfg"),
            "apache-2.0",
            "Treat these weights as bound by the same licence",
        ),
        (Origin(), "unknown", "Auditor does not know the licence"),
    ],
)
def test_the_licence_of_the_beginning(began: ZooEntry, origin: Origin, license: str, said: str) -> None:
    card = card_of(began, origin)
    assert (card.data.license, card.data.base_model) == (license, origin.hub_id)
    assert said in card.text


def test_timms_licence_and_place_on_the_hub() -> None:
    entries = {entry.model: entry for entry in find_source("timm").entries()}
    known = origin_of(entries["timm:convnextv2_nano.fcmae_ft_in1k"])
    assert (known.license, known.hub_id) == ("cc-by-nc-4.0", "timm/convnextv2_nano.fcmae_ft_in1k")
    assert origin_of(entries["timm:resnet18.a1_in1k"]).license is None
    assert origin_of(entries["timm:resnet18"]) == Origin()


def test_other_peoples_words_stay_on_their_line(began: ZooEntry) -> None:
    own = CustomData(path=None, classes=("a", "b"), levels=(("x", "y"),))
    entry = replace(began, model="local:a|b\n# no heading", source="local", dataset='"odd": [name', own_data=own)
    card = card_of(entry, model=entry.model, lineage=[entry.model])
    assert not re.search(r"^# no heading", card.text, re.MULTILINE)
    assert card.data.datasets is None
    assert card.data.eval_results[0].dataset_name == '"odd": [name'
    assert (card.data.license, "Auditor does not know the licence" in card.text) == ("unknown", True)


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ({"name": "small_resnet"}, "ARCHITECTURES['small_resnet']()"),
        ({"python": "make.py:make", "kwargs": {}}, "`make` in `make.py` of the original zoo"),
        ({"robustbench": "cifar10/Linf/Name", "version": "1"}, "load_model('Name', dataset='cifar10'"),
        ({"timm": "resnet18", "kwargs": {"num_classes": 10}}, "timm.create_model('resnet18', num_classes=10, "),
    ],
)
def test_how_each_kind_of_network_is_made(began: ZooEntry, architecture: dict[str, Any], said: str) -> None:
    source = "robustbench" if "robustbench" in architecture else "local"
    card = card_of(replace(began, source=source, architecture=architecture))
    assert said in card.text
    assert ("the normalization is inside the network" in card.text) == (source == "robustbench")
    assert card.data.library_name == ("timm" if "timm" in architecture else None)


def test_the_recipe_in_short() -> None:
    recipe = row(Path()).recipe
    assert recipe_words(recipe) == "at Linf 8/255, 10 steps, logits β 0.1, ema 0.99, 2 epochs"
    plain = recipe | {"method": "standard", "beta": 0.0, "ema": 0.0, "label_smoothing": 0.1}
    assert recipe_words(plain) == "standard, no regularizer, label smoothing 0.1, 2 epochs"
    assert json.dumps(recipe)
    assert RECIPE.seed == 5


@pytest.mark.parametrize(("crop", "resize"), [(224, 256), (224, 235), (288, 288), (32, 36), (160, 163), (224, 299)])
def test_timm_resizes_as_auditor_does(crop: int, resize: int) -> None:
    assert int(crop / crop_fraction(crop, resize)) == resize
