"""``auditor adapt``: from options to a stored result, also by a worker, and invalid options."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from auditor.adapt import adapt
from auditor.cli import main
from auditor.records.adaptations import AdaptRequest, request_from, result_from
from auditor.records.assignments import find_preset
from tests.factories import garden

QUICK = ["--source-images", "640", "--epochs", "1", "--held-out", "20", "--protocol", "quick", "--shots", "0,1"]
OWN = ["--superclasses", "tops | shoes", "--source", "coat | sneaker", "--target", "Shirt | sandal"]


def auditor(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in words])


@pytest.mark.long
def test_a_recipe_is_adapted_stored_and_shown() -> None:
    """The command's result is that of the function on the request that it stored."""
    result = auditor("adapt", "standard", *OWN, *QUICK, "--seeds", 3, "--here", "--format", "json")
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)
    assert (row["kind"], row["state"], row["model"]) == ("adapt", "done", "standard")
    request = request_from(row["request"]["adapt"])
    assert [group.targets for group in request.assignment.superclasses] == [("shirt",), ("sandal",)]
    assert (request.training.epochs, request.training.method) == (1, "standard")
    found = result_from(row["result"])
    assert [(score.seed, score.shots, score.adapted.n) for score in found.scores] == [(3, 0, 20), (3, 1, 20)]
    again = adapt(request)
    assert [score.baseline for score in again.scores] == [score.baseline for score in found.scores]
    shown = auditor("trainings", "show", row["id"])
    assert "nearest mean on pixels" in shown.output
    assert f"{found.scores[1].adapted.clean:.1%} / {found.scores[1].adapted.robust:.1%}" in shown.output


@pytest.mark.long
def test_a_zoo_model_is_marked_as_trained_on_the_targets() -> None:
    result = auditor("adapt", "demo:at-eps0.10", *OWN, "--held-out", 20, "--protocol", "quick", "--shots", 0, "--here")
    assert result.exit_code == 0, result.output
    assert "trained on the targets, too (shirt, sandal)" in " ".join(result.output.split())


CASES = [
    (["robut"], "no recipe named 'robut'; expected one of: standard, robust"),
    (["demo:none"], "demo:none"),
    (["nowhere:x"], "no model named 'nowhere:x'; give it as SOURCE:NAME"),
    (["robust", "--preset", "fashion"], "no assignment named 'fashion'; did you mean"),
    (["robust", "--source", "coat | sandal"], "missing: --superclasses, --target"),
    (["robust", "--dataset", "cifar10"], "--dataset needs --superclasses"),
    (["robust", *OWN[:2], "--source", "coat | coats", "--target", "shirt | sandal"], "no class named 'coats'"),
    (["robust", *OWN[:2], "--source", "coat | sandal", "--target", "coat | sneaker"], "both a source and a target"),
    (["robust", *OWN[:2], "--source", "coat | ", "--target", "shirt | sandal"], "at least one source class"),
    (["robust", "--superclasses", "tops", "--source", "coat", "--target", "shirt"], "at least two superclasses"),
    (["robust", "--beta", "-1"], "expected beta from 0"),
    (["robust", "--eps", "1.5"], "expected eps from"),
    (["robust", "--shots", "1,1"], "expected shots that differ"),
    (["robust", "--shots", "one"], "expected integers of 0 or more with commas"),
    (["robust", "--head", "fresh", "--shots", "0"], "leave out 0 shots"),
    (["robust", "--data", "nowhere"], "--data: no such file or folder: nowhere"),
    (["demo:standard", "--epochs", "3"], "--epochs needs a recipe"),
    (["demo:standard", "--preset", "cifar100"], "demo:standard is a model for fashion_mnist"),
]


@pytest.mark.parametrize(("words", "message"), CASES)
def test_invalid_options_print_one_line_and_store_no_job(words: list[str], message: str) -> None:
    result = auditor("adapt", *words, "--here")
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert "Traceback" not in result.output
    assert auditor("trainings", "list").output.strip() == "no boosts or adaptations"


@pytest.mark.long
def test_missing_data_and_too_few_images_fail_with_the_reason() -> None:
    result = auditor("adapt", "robust", "--preset", "cifar100", "--here")
    assert result.exit_code in (1, 3)
    assert "cifar" in result.output.lower()
    result = auditor("adapt", "standard", "--shots", "6001", *QUICK[:4], "--here")
    assert result.exit_code == 1
    assert "6001" in result.output or "6,001" in result.output


@pytest.mark.long
def test_a_local_zoos_model_is_adapted_on_its_own_data(tmp_path: Path) -> None:
    zoo = garden.make(tmp_path / "zoo")
    words = [
        "adapt",
        "local:plant",
        "--zoo",
        zoo,
        "--trust-code",
        "--dataset",
        "garden",
        "--superclasses",
        "tree | flower",
    ]
    words += ["--source", "oak | rose", "--target", "elm | lily", "--shots", 2, "--held-out", 12, "--protocol", "quick"]
    result = auditor(*words, "--here", "--data", zoo / "train.npz", "--format", "json")
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)
    (score,) = row["result"]["scores"]
    assert (score["adapted"]["n"], score["baseline"]["clean"]) == (12, 1.0)
    assert score["adapted"]["clean"] > 0.8  # a quarter of the image is a class's own: a random filter shows it
    without = auditor(*words, "--here")
    assert (without.exit_code, "pass --data PATH" in without.output) == (1, True)


def test_the_presets_request_is_the_documented_one() -> None:
    assert AdaptRequest().assignment == find_preset("fashion-mnist")
