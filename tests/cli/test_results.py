"""``auditor results``, ``zoo`` and ``db``: what was stored, shown in every shape."""

import csv
import io
import json
import math
from pathlib import Path

import pytest
from sqlalchemy import func, select

from auditor.clustering import spearman
from auditor.config import settings
from auditor.db.base import Base
from auditor.db.results import Filter, list_results
from auditor.db.session import HEAD, open_database
from auditor.results.association import association_of_one_setting
from tests.factories.audits import audited, screened
from tests.factories.command import run


@pytest.fixture(scope="module")
def scanned_rows() -> dict[str, list[dict]]:
    """The rows of a scan by table, once there was one."""
    return {}


@pytest.fixture
def _scanned(scanned_rows: dict[str, list[dict]]) -> None:
    """A scan of six models, which is run once and then stored anew for each test."""
    engine = open_database(settings().database_url)
    if scanned_rows:
        with engine.begin() as connection:
            for table in Base.metadata.sorted_tables:
                if rows := scanned_rows[table.name]:
                    connection.execute(table.delete())  # migrations have made some
                    connection.execute(table.insert(), rows)
                    if engine.dialect.name == "postgresql" and "id" in table.c:  # numbers go on after these
                        sequence = func.pg_get_serial_sequence(table.name, "id")
                        connection.execute(select(func.setval(sequence, max(row["id"] for row in rows))))
        return
    chosen = ["at-eps0.10", "trades-eps0.10", "standard", "noise", "standard-cluster", "saturated"]
    result = run("scan", "demo", "--samples", "40", *(part for name in chosen for part in ("--model", name)))
    assert result.exit_code == 0, result.output
    with engine.begin() as connection:
        for table in Base.metadata.sorted_tables:
            scanned_rows[table.name] = [dict(row) for row in connection.execute(table.select()).mappings()]


@pytest.mark.long
@pytest.mark.usefixtures("_scanned")
def test_list_filters_and_shapes() -> None:
    whole = json.loads(run("results", "list", "--format", "json").stdout)
    assert len(whole) == 6
    accuracies = [row["robust_accuracy"] for row in whole]
    assert accuracies == sorted(accuracies, reverse=True)
    unflagged = json.loads(run("results", "list", "--unflagged", "--sort", "gap", "--format", "json").stdout)
    assert [row["gap"] for row in unflagged] == sorted(row["gap"] for row in unflagged)
    assert len(unflagged) == 5
    table = list(csv.DictReader(io.StringIO(run("results", "list", "--format", "csv").stdout)))
    assert [row["model"] for row in table] == [row["model"] for row in whole]
    assert [float(row["gap"]) for row in table] == [row["gap"] for row in whole]
    assert "demo:standard-cluster" in run("results", "list", "--match", "*cluster").stdout
    assert run("results", "list", "--sort", "beauty").exit_code == 2


def test_nothing_yet_is_no_error() -> None:
    result = run("results", "list")
    assert (result.exit_code, result.stdout) == (0, "")
    assert "auditor scan demo" in result.stderr
    assert json.loads(run("results", "list", "--format", "json").stdout) == []


@pytest.mark.usefixtures("_scanned")
def test_show() -> None:
    text = run("results", "show", "demo:at-eps0.10").stdout
    for part in ("pgd-20", "fgsm", "C, linearized network", "F, class means of the logits", "SHA-256", "torch"):
        assert part in text
    (whole,) = json.loads(run("results", "show", "demo:saturated", "--format", "json").stdout)
    assert whole["flags"] == ["zero_gradients", "possible_masking"]
    assert 0 <= whole["screening"]["score"] == whole["screen_score"] <= 1
    assert len(whole["clusterings"]["weights"]["matrix"]) == 10
    assert len(whole["verdicts"]["survived"]) == 40
    wrong = run("results", "show", "demo:at-eps0.1")
    assert wrong.exit_code == 2
    assert "did you mean demo:at-eps0.10" in wrong.stderr


@pytest.mark.usefixtures("_scanned")
def test_errors_by_class_are_those_of_the_json() -> None:
    (whole,) = json.loads(run("results", "show", "demo:noise", "--format", "json").stdout)
    errors, verdicts = whole["errors"], whole["verdicts"]
    assert sum(row["n"] for row in errors["classes"]) == 40
    assert sum(errors["confusion"][k][k] for k in range(10)) == sum(verdicts["survived"])
    family = dict(enumerate(whole["superclasses"]))
    broken = [
        (family[true], family[last])
        for true, last, attack in zip(verdicts["labels"], verdicts["predicted"], verdicts["broken_at"], strict=True)
        if attack >= 0
    ]
    assert len(broken) == sum(score["broken"] for score in whole["attacks"]) == errors["broken"] > 0
    assert errors["severity"] == sum(one == other for one, other in broken) / len(broken)
    plain = run("results", "show", "demo:noise").stdout
    shown = run("results", "show", "demo:noise", "--errors").stdout
    assert shown.startswith(plain)
    assert f"{errors['severity']:.2f} (" in plain
    assert "Attack success by class" in plain
    lines = shown.removeprefix(plain).splitlines()
    for name, row, counts in zip(whole["classes"], errors["classes"], errors["confusion"], strict=True):
        (accuracy, confusion) = [line.removeprefix(name).split() for line in lines if line.startswith(f"{name} ")]
        assert accuracy[-7:-3] == [str(row["n"]), str(row["correct"]), str(row["survived"]),
                                   f"{100 * row['robust_accuracy']:.1f}"]  # fmt: skip
        assert confusion == list(map(str, counts))


@pytest.mark.long
def test_errors_of_what_was_not_attacked_or_has_no_classes_are_refused_in_one_line(tmp_path: Path) -> None:
    audited("old", 60)
    assert run("scan", "demo", "--model", "standard", "--protocol", "screen").exit_code == 0
    for model, message in (("demo:old", "has no errors by class: audited before"), ("standard", "was not attacked")):
        for command in (("show",), ("plot", "-o", tmp_path / "x.png")):
            refused = run("results", *command, model, "--errors")
            assert (refused.exit_code, len(refused.stderr.splitlines())) == (2, 1)
            assert message in refused.stderr
    assert "errors by class  audited before auditor stored" in run("results", "show", "demo:old").stdout


@pytest.mark.usefixtures("_scanned")
def test_export(tmp_path: Path) -> None:
    assert run("results", "export", "-o", tmp_path / "all.json").exit_code == 0
    whole = json.loads((tmp_path / "all.json").read_text())
    assert len(whole) == 6
    assert all(result["attacks"] and result["clusterings"] for result in whole)
    assert run("results", "export", "--format", "csv").stdout.count("\n") == 7
    assert run("results", "export", "-o", "/proc/x.json").exit_code == 2


@pytest.mark.long
@pytest.mark.usefixtures("_scanned")
@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_plots_are_files_of_their_kind(tmp_path: Path, ending: str) -> None:
    magic = {"png": b"\x89PNG", "svg": b"<?xml", "pdf": b"%PDF"}[ending]
    for number, what in enumerate((["demo:at-eps0.10"], ["--zoo"], ["demo:noise", "--errors"])):
        file = tmp_path / "new" / f"{number}.{ending}"
        result = run("results", "plot", *what, "-o", file)
        assert result.exit_code == 0, result.output
        assert file.read_bytes().startswith(magic)


@pytest.mark.usefixtures("_scanned")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "x.png"), "either a MODEL or --zoo"),
        (("--zoo", "demo:noise", "-o", "x.png"), "either a MODEL or --zoo"),
        (("--zoo", "-o", "x.gif"), ".png, .svg or .pdf"),
        (("--zoo", "--protocol", "full", "-o", "x.png"), "no results of attacks"),
        (("demo:nothing", "-o", "x.png"), "no result of"),
        (("--zoo", "--errors", "-o", "x.png"), "expected one of --zoo, --errors"),
        (("--zoo", "-o", "/proc/x.png"), "cannot write"),
    ],
)
def test_plots_that_cannot_be(arguments: tuple, message: str) -> None:
    result = run("results", "plot", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.long
@pytest.mark.usefixtures("_scanned")
def test_the_association_is_that_of_the_unflagged_rows_with_and_without_regularized_models() -> None:
    shown = run("scan", "demo", "--samples", "40", "--match", "*").stdout
    listed = [row for row in json.loads(run("results", "list", "--format", "json").stdout) if not row["flags"]]
    plain = [row for row in listed if not row["training"].get("beta")]
    assert 0 < len(plain) < len(listed)
    for chosen in (listed, plain):
        found = spearman([row["gap"] for row in chosen], [row["robust_accuracy"] for row in chosen])
        assert not math.isnan(found.rho)
        assert f"{found.rho:.2f} (95 % interval {found.low:.2f} to {found.high:.2f}, n = {found.n})" in shown


@pytest.mark.long
def test_data_sets_are_ranked_apart(tmp_path: Path) -> None:
    for number in range(5):
        audited(f"a{number}", 60 + number)
    for number in range(4):
        audited(f"b{number}", 50 + number, dataset="cifar10")
    table = run("results", "list").stdout
    for setting, first in (
        ("quick, fashion_mnist, Linf 0.1, n = 100", "a4"),
        ("quick, cifar10, Linf 0.1, n = 100", "b3"),
    ):
        assert table.splitlines().count(setting) == 1
        lines = table[table.index(setting) :].splitlines()
        assert lines[2].split()[:2] == ["1", f"demo:{first}"]
    rows = list_results(open_database(settings().database_url), Filter())
    assert association_of_one_setting(rows) == []
    (statement,) = association_of_one_setting([row for row in rows if row.dataset == "cifar10"])
    assert "n = 4" in statement
    drawn = run("results", "plot", "--zoo", "-o", tmp_path / "zoo.png")
    assert drawn.exit_code == 0
    assert "left out: 4 results of quick, cifar10, Linf 0.1, n = 100\n" in drawn.stderr


def test_help_says_what_the_ranks_are_of() -> None:
    assert "ranks the printed rows" in run("results", "list", "--help").stdout


def test_zoo_list() -> None:
    listed = json.loads(run("zoo", "list", "demo", "--format", "json").stdout)
    assert len(listed) >= 11
    assert all(row.keys() >= {"model", "dataset", "threat_model", "norm", "eps"} for row in listed)
    assert "demo:saturated" in run("zoo", "list", "demo").stdout
    assert run("zoo", "list", "demo", "--match", "x").exit_code == 2


def test_db() -> None:
    assert f"revision {HEAD}" in run("db", "upgrade").stdout
    assert run("db", "check").stdout == "no drift\n"


def test_results_without_attacks_are_sorted_by_score() -> None:
    for name, score in (("low", 0.1), ("none", None), ("high", 0.9), ("middle", 0.5)):
        screened(name, score)
    lines = run("results", "list").stdout.splitlines()
    names = [line.split()[0] for line in lines if line.startswith("demo:")]
    assert names == ["demo:high", "demo:middle", "demo:low", "demo:none"]
    assert not any(line.lstrip().startswith("#") for line in lines)
    assert "sorted by their screening score" in " ".join(lines)
    best = run("results", "list", "--protocol", "screen", "--limit", "2", "--format", "json").stdout
    assert [row["model"] for row in json.loads(best)] == ["demo:high", "demo:middle"]
    by_name = run("results", "list", "--sort", "model").stdout
    assert by_name.index("demo:high") < by_name.index("demo:low") < by_name.index("demo:middle")
