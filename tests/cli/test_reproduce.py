"""``auditor reproduce bai2021``: every experiment on small made data, resumed, written as a page; and bad input."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from auditor.cli import main
from auditor.reproduce import correlation
from auditor.reproduce.catalogue import EXPERIMENTS
from tests.factories import cifar_sets

SMALL = [
    "--family", "vgg", "--family", "alexnet", "--images", 128, "--epochs", 1, "--steps", 1, "--test-images", 20,
    "--width", 0.34, "--shots", 2, "--queries", 5,
]  # fmt: skip


def reproduce(*words: object) -> Result:
    return CliRunner().invoke(main, [str(word) for word in ("reproduce", "bai2021", *words)])


@pytest.fixture
def cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return cifar_sets.both(tmp_path / "data", monkeypatch)


@pytest.mark.long
def test_all_experiments_resume_and_make_a_page(cifar: Path, tmp_path: Path) -> None:
    """An interrupted run and its continuation give the numbers of one run, and train and measure nothing twice."""
    words = ("--dataset", "cifar10", "--data", cifar, "--work", tmp_path / "work", *SMALL)
    words = (*words, "--seeds", 1)
    first = reproduce("--only", "correlation", *words, "--format", "json")
    assert first.exit_code == 0, first.output
    page = tmp_path / "docs" / "page.md"
    result = reproduce(*words, "--format", "json", "--write", page)
    assert result.exit_code == 0, result.output
    assert "correlation" in result.stderr
    assert "TRADES, seed 0: epoch" not in result.stderr.split("layers:")[0]
    rows = json.loads(result.stdout)
    assert [row["experiment"] for row in rows] == list(EXPERIMENTS)
    assert {row["dataset"] for row in rows} == {"cifar10", "cifar100"}
    assert json.loads(first.stdout)[0]["tables"] == rows[0]["tables"]
    claims = [claim for row in rows for claim in row["claims"]]
    assert {claim["verdict"] for claim in claims} <= {"reproduced", "not reproduced", "not decided"}
    assert len(claims) == 5 + 1 + 9 + 6 + 2 + 6 + 4
    selection = next(claim for claim in claims if claim["text"].startswith("Selecting the epoch"))
    assert selection["because"] == "both selected the same epoch in every training"  # there is one
    again = reproduce(*words, "--format", "json")
    assert "epoch" not in again.stderr.replace("the epoch selected", "")
    assert [row["claims"] for row in json.loads(again.stdout)] == [row["claims"] for row in rows]
    text = page.read_text()
    assert all(f"## {name}" in text for name in EXPERIMENTS)
    assert all(claim["text"] in text for claim in claims)
    assert (page.parent / "page-layers.png").read_bytes()[:4] == b"\x89PNG"
    assert "![layers](page-layers.png)" in text


@pytest.mark.long
def test_an_interrupt_says_how_to_resume(cifar: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("--only", "correlation", "--dataset", "cifar10", "--data", cifar, "--work", tmp_path / "work", *SMALL)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(correlation, "_geometry_cells", interrupt)
        stopped = reproduce(*words)
    assert stopped.exit_code == 130
    assert "the same command with --work" in stopped.stderr
    resumed = reproduce(*words)
    assert resumed.exit_code == 0, resumed.output
    assert "vgg standard, seed 0: epoch" in stopped.stderr
    assert "vgg standard, seed 0: epoch" not in resumed.stderr
    assert "C of PGD-AT networks has a larger gap" in " ".join(resumed.stdout.split())


@pytest.mark.long
def test_experiments_without_data_or_classes_say_so(cifar: Path, tmp_path: Path) -> None:
    (cifar / "cifar-100-python").rename(cifar / "elsewhere")
    words = ("--dataset", "cifar10", "--data", cifar, "--work", tmp_path / "work", *SMALL)
    page = tmp_path / "page.md"
    both = ("--only", "zero-shot", "--only", "layers", "--seeds", 1)
    result = reproduce(*words, *both, "--write", page)
    assert result.exit_code == 1, result.output
    assert "zero_shot: not run: expected torchvision's folder cifar-100-python" in " ".join(result.stdout.split())
    assert "not decided, because it was not run" in page.read_text()
    alone = reproduce(*words, "--only", "zero_shot")
    assert alone.exit_code == 3
    assert "error: expected torchvision's folder cifar-100-python" in " ".join(alone.stderr.split())


def test_too_few_images_are_one_line(cifar: Path, tmp_path: Path) -> None:
    words = ("--only", "layers", "--dataset", "cifar10", "--data", cifar, "--work", tmp_path / "work", *SMALL)
    result = reproduce(*words, "--test-images", 31)
    assert result.exit_code == 2
    assert "expected 62 test images of cifar10, twice --test-images, got fewer" in " ".join(result.stderr.split())


def test_the_list() -> None:
    assert reproduce("--list").stdout.splitlines()[1].startswith("correlation  C and F of")
    rows = json.loads(reproduce("--list", "--format", "json").stdout)
    assert [row["name"] for row in rows] == list(EXPERIMENTS)


CASES = [
    (["--only", "corelation"], 2, "no experiment named 'corelation'; expected one of: correlation, layers"),
    (["--family", "vit"], 2, "no network family named 'vit'; expected one of: resnet, vgg"),
    (["--dataset", "mnist"], 2, "no data set named 'mnist'; expected one of: fashion_mnist"),
    (["--images", "100"], 2, "expected at least 128 training images"),
    (["--data", "nowhere"], 2, "--data: no such file or folder: nowhere"),
    (["--work", "file"], 2, "expected a folder for --work, got the file"),
    (["--seeds", "0"], 2, "--seeds"),
    (["--beta", "nan"], 2, "--beta"),
    (["--dataset", "cifar10", "--data", "empty"], 3, "expected torchvision's folder cifar-10-batches-py"),
    (["--dataset", "svhn", "--data", "empty"], 3, "expected SVHN's file test_32x32.mat"),
]


@pytest.mark.parametrize(("words", "code", "message"), CASES)
def test_bad_input_is_one_line(words: list[str], code: int, message: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "empty").mkdir()
    result = reproduce(*words)
    assert result.exit_code == code, result.output
    assert message in " ".join(result.stderr.split())
    assert "Traceback" not in result.output


@pytest.mark.long
def test_a_page_that_cannot_be_written(tmp_path: Path, cifar: Path) -> None:
    (tmp_path / "file").touch()
    words = ("--dataset", "cifar10", "--data", cifar, "--work", tmp_path / "work", *SMALL, "--seeds", 1)
    result = reproduce("--only", "layers", *words, "--write", tmp_path / "file" / "page.md")
    assert result.exit_code == 2
    assert "error: cannot write" in result.stderr
