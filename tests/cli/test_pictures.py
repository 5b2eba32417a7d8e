"""``auditor results plot --templates`` and ``--adversarials``, and ``results compare --samples``."""

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from safetensors.torch import load_file, save_file
from sqlalchemy import delete
from sqlalchemy.orm import Session

from auditor.attacks import adversarials_file
from auditor.audit.task import measure
from auditor.cli.output import pictures
from auditor.config import settings
from auditor.db import models as tables
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.db.templates import load_templates
from auditor.linear import implicit_weight
from auditor.records import AuditRequest, JobContext, Measurement
from auditor.zoo.demo import DemoZoo
from tests.factories.audits import audited, compare
from tests.factories.command import run, zoo  # noqa: F401
from tests.factories.figures import texts
from tests.factories.pictures import saved
from tests.factories.records import REQUEST

MODEL = "demo:plain-standard"


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    """The arguments of each figure of templates."""
    calls: list[tuple] = []

    def draw(*arguments: object) -> Figure:
        calls.append(arguments)
        return Figure()

    monkeypatch.setattr(pictures, "draw_templates", draw)
    return calls


def plot(*options: object) -> None:
    result = run("results", "plot", MODEL, *options, "-o", "picture.png")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "picture.png\n"


def refused(*options: object, model: str = MODEL) -> str:
    result = run("results", "plot", model, *options, "-o", "picture.png")
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) <= 2
    assert not Path("picture.png").exists()
    return result.stderr


def audit_demo_model() -> None:
    """Audit the model in this process, which takes no child process, and store the result."""
    entry = next(entry for entry in DemoZoo().entries() if entry.model == MODEL)
    record = measure(DemoZoo(), entry, Measurement(audit=AuditRequest(protocol="screen"), samples=0), JobContext())
    store = Store(open_database(settings().database_url))
    _, (job,) = store.create_scan("demo", REQUEST | {"protocol": "screen", "samples": 0}, [entry])
    assert record is not None
    assert store.finish(job.audit_id, store.claim(job.audit_id) or 0, record)


def forget() -> None:
    """As if an older auditor had stored the audit."""
    with Session(open_database(settings().database_url)) as session, session.begin():
        session.execute(delete(tables.Templates))


@pytest.mark.long
def test_templates_are_those_of_the_audit_or_of_its_model(drawn: list[tuple], zoo: Path) -> None:  # noqa: F811
    audit_demo_model()
    stored = load_templates(open_database(settings().database_url), 1)
    plot("--templates")
    forget()
    plot("--templates")
    Path("picture.png").unlink()
    entry = next(entry for entry in DemoZoo().entries() if entry.model == MODEL)
    weight = implicit_weight(DemoZoo().load(entry).model, (1, 28, 28)).double().numpy()
    for _, _, classes, superclasses, order, (linearized, local) in drawn:
        assert (len(classes), len(superclasses), sorted(order)) == (10, 10, list(range(10)))
        largest = np.abs(weight).max(axis=(1, 2, 3), keepdims=True)
        assert (np.abs(linearized.values - weight) / largest).max() <= 0.5 / 127 + 1e-6
        assert local.probes == 32
        np.testing.assert_allclose(local.values, stored[1].values, atol=np.abs(stored[1].values).max() / 100)

    file = zoo / "plain-standard.safetensors"
    weights = load_file(file)
    save_file({name: tensor + torch.tensor(0.01, dtype=tensor.dtype) if tensor.is_floating_point() else tensor
               for name, tensor in weights.items()}, file)  # fmt: skip
    assert "stored no templates, and" in refused("--templates")
    file.unlink()
    assert f"{MODEL} cannot be loaded" in refused("--templates")


@pytest.mark.long
def test_adversarials_of_a_file_or_of_the_file_in_a_folder(tmp_path: Path) -> None:
    file = adversarials_file(tmp_path / "kept", MODEL, "i")
    audited("plain-standard", 93, adversarials=str(file))
    assert file.name in "".join(run("results", "show", MODEL).stdout.split())
    saved(file, model=MODEL)
    for path in ("kept", file):
        plot("--adversarials", path)
        Path("picture.png").unlink()
    engine = open_database(settings().database_url)
    written = " ".join(texts(pictures.adversarials_figure(engine, MODEL, None, None, file)))
    assert "difference × 10" in written
    assert "7 of the 7 samples that an attack broke, of 100" in written
    audited("other", 50)
    assert "has the adversarial images of another audit" in refused("--adversarials", file, model="demo:other")
    (tmp_path / "empty").mkdir()
    assert "found no such file; `auditor scan" in refused("--adversarials", "empty")
    saved(tmp_path / "none.npz", 0, model="demo:other", identity="i")
    assert "no attack broke a sample" in refused("--adversarials", "none.npz", model="demo:other")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            ("--templates", "--adversarials", "."),
            "expected one of --zoo, --errors, --curve, --templates and",
        ),
        (("--folder", "."), "--folder and --trust-code need --templates"),
        (("--adversarials", "nowhere"), "does not exist"),
    ],
)
def test_options_that_do_not_go_together(options: tuple[str, ...], message: str) -> None:
    result = run("results", "plot", "demo:a", *options, "-o", "x.png")
    assert result.exit_code == 2
    assert message in result.stderr


def test_the_numbers_of_the_samples_that_only_one_withstands() -> None:
    audited("strong", 70, first=10)
    audited("weak", 60)
    assert "samples" not in compare("demo:strong", "demo:weak")
    found = compare("demo:strong", "demo:weak", "--samples")
    assert found["samples"] == {"only_a": list(range(60, 80)), "only_b": list(range(10))}
    assert (found["robust"]["only_a"], found["robust"]["only_b"]) == (20, 10)
    shown = run("results", "compare", "demo:strong", "demo:weak", "--samples").stdout.splitlines()
    assert shown[shown.index(" ".join(map(str, range(60, 80)))) - 1].startswith("only demo:strong@1 withstands 20 ")
    assert " ".join(map(str, range(10))) in shown
