"""``auditor zoo import-published``, and what lists and `show` make of the figures."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from auditor.config import settings
from auditor.db.published import store_published
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.records import Published
from tests.factories.command import run
from tests.factories.published import BAD, GOOD, store_figures, write


def test_good_files_are_imported_and_all_bad_ones_named_at_once(tmp_path: Path) -> None:
    root = tmp_path / "model_info"
    write(root, "cifar10/Linf/A", GOOD)
    write(root, "cifar100/corruptions/B", {"corruptions_acc": "50", "clean_acc": "80"})
    for number, (content, _) in enumerate(BAD):
        write(root, f"cifar10/L2/bad{number}", content)
    result = run("zoo", "import-published", root)
    lines = result.stderr.splitlines()
    assert result.exit_code == 1
    assert len(lines) == len(BAD) + 1
    assert all("/cifar10/L2/bad" in line for line in lines[:-1])
    assert lines[-1].startswith(f"error: {len(BAD)} of {len(BAD) + 2} files were not imported")
    assert "2 models imported, 0 of them marked unreliable" in result.stdout
    again = run("zoo", "import-published", root / "cifar10" / "Linf", "--format", "json")
    assert again.exit_code == 0
    (row,) = json.loads(again.stdout)
    assert (row["model"], row["status"], row["clean_accuracy"]) == ("robustbench:cifar10/Linf/A", "unchanged", 0.8969)
    write(root, "cifar10/Linf/A", GOOD | {"clean_acc": "91"})
    (row,) = json.loads(run("zoo", "import-published", root / "cifar10" / "Linf", "--format", "json").stdout)
    assert row["status"] == "updated"


@pytest.mark.parametrize(("folder", "message"), [("empty", "no published figures"), ("nowhere", "does not exist")])
def test_folders_that_hold_none_are_usage_errors(tmp_path: Path, folder: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    result = run("zoo", "import-published", tmp_path / folder)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


@pytest.fixture
def _claimed() -> None:
    """One model as published, one that is not, one that nothing was published of, one of common corruptions."""
    engine = open_database(settings().database_url)
    for name, robust in (("honest", 0.6), ("dubious", 0.3), ("unknown", 0.5), ("foggy", 0.1)):
        store_figures(Store(engine), name=name, robust_accuracy=robust)
    claim = {"norm": "Linf", "eps": 0.1, "clean_accuracy": 0.9, "autoattack_accuracy": 0.61}
    store_published(
        engine,
        [
            Published(model="demo:honest", **claim, paper="A Paper"),
            Published(model="demo:dubious", **claim, external_accuracy=0.5, unreliable=True),
            Published(model="demo:foggy", clean_accuracy=0.9, corruptions_accuracy=0.77),
        ],
    )


@pytest.mark.usefixtures("_claimed")
def test_claimed_stands_beside_measured() -> None:
    table = run("results", "list").stdout
    lines = {line.split()[1]: line for line in table.splitlines() if "demo:" in line}
    assert "claimed clean %" in table
    assert "claimed robust %" in table
    assert "61.0" in lines["demo:honest"]
    assert "50.0*" in lines["demo:dubious"]
    assert lines["demo:dubious"].startswith("–")
    assert "robust_accuracy_mismatch" in lines["demo:dubious"]
    assert "* marked unreliable by its publisher." in table
    rows = {row["model"]: row for row in json.loads(run("results", "export").stdout)}
    claims = ("claimed_clean_accuracy", "claimed_robust_accuracy", "claimed_unreliable")
    assert {name: tuple(row[key] for key in claims) for name, row in rows.items()} == {
        "demo:honest": (0.9, 0.61, False),
        "demo:dubious": (0.9, 0.5, True),
        "demo:foggy": (0.9, None, False),
        "demo:unknown": (None, None, None),
    }
    assert "claimed" not in run("results", "list", "--model", "demo:unknown").stdout


@pytest.mark.usefixtures("_claimed")
@pytest.mark.parametrize(
    ("model", "parts", "absent"),
    [
        ("demo:honest", ["A Paper", "robust 61.00 % under Linf 0.1 (AutoAttack)"], ["mismatch", "corruptions"]),
        (
            "demo:dubious",
            ["marked unreliable", "30.00 % of 1000, is 20.0 points below the 50.00 % that were published"],
            ["above"],
        ),
        ("demo:foggy", ["77.00 % under common corruptions, which says nothing of a norm ball"], ["mismatch"]),
        ("demo:unknown", [], ["claimed", "published"]),
    ],
)
def test_show_says_it_in_words(model: str, parts: list[str], absent: list[str]) -> None:
    shown = run("results", "show", model).stdout
    assert all(part in shown for part in parts), shown
    assert not any(part in shown for part in absent), shown


@pytest.mark.long
@pytest.mark.usefixtures("_claimed")
def test_lists_of_claims_import_neither_torch_nor_scipy() -> None:
    code = (
        "import sys\nfrom auditor.cli import main\n"
        "try:\n    main(['results', 'list'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert not {'torch', 'scipy'} & set(sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "robust_accuracy_mismatch" in result.stdout
