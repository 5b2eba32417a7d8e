"""Accuracies under corruptions: stored and read, pruned, deleted with their audit; the published ones beside them."""

import uuid

import numpy as np
import pandas
import pytest
from alembic import command
from sqlalchemy import Engine, delete, func, select, text
from sqlalchemy.orm import Session

from auditor.cli.gates import GateOptions, find_unmet
from auditor.db import models as tables
from auditor.db.corruptions import load_shares
from auditor.db.plot_models import list_plot_models
from auditor.db.prune import prune
from auditor.db.published import store_published
from auditor.db.results import Filter, list_results, load_detail
from auditor.db.session import alembic_config, open_database, schema_drift, upgrade
from auditor.db.store import Store
from auditor.errors import UsageError
from auditor.records import Published
from auditor.records.corruptions import GENERATED, PUBLISHED, variants
from auditor.results.ranking import setting_of
from tests.factories.corruptions import corrupted_audit
from tests.factories.records import REQUEST, entry, record

RIGHT = np.random.default_rng(0).random((75, 9)) < np.linspace(0.1, 0.9, 9)


def rows(engine: Engine, audit_id: int) -> int:
    with Session(engine) as session:
        query = select(func.count()).select_from(tables.Corruption).where(tables.Corruption.audit_id == audit_id)
        return session.scalar(query) or 0


def test_what_is_stored_is_read(shared: Engine) -> None:
    audit_id = corrupted_audit(Store(shared), RIGHT, name=uuid.uuid4().hex)
    detail = load_detail(shared, audit_id)
    assert [(one.corruption, one.severity) for one in detail.corruptions] == variants(GENERATED)
    assert np.array_equal([one.verdicts for one in detail.corruptions], RIGHT)
    assert [one.right for one in detail.corruptions] == RIGHT.sum(1).tolist()
    assert np.allclose(load_shares(shared, audit_id), RIGHT.mean(0))
    assert (detail.row.norm, detail.row.eps, detail.row.threat_model) == (GENERATED, 0, "corruptions")
    assert detail.verdicts is not None
    assert detail.verdicts.labels is not None
    assert detail.verdicts.predicted is None


def test_pruned_verdicts_leave_the_accuracies(shared: Engine) -> None:
    name = uuid.uuid4().hex
    old, new = (corrupted_audit(Store(shared), right, name=name) for right in (RIGHT, ~RIGHT))
    pruned = prune(shared, 1)
    assert pruned.audits >= 1
    with pytest.raises(UsageError, match=f"result {old} has no verdicts by image and corruption"):
        load_shares(shared, old)
    assert [one.right for one in load_detail(shared, old).corruptions] == RIGHT.sum(1).tolist()
    assert np.allclose(load_shares(shared, new), (~RIGHT).mean(0))
    assert prune(shared, 1).audits == 0


def test_they_go_with_their_audit(shared: Engine) -> None:
    audit_id = corrupted_audit(Store(shared), RIGHT, name=uuid.uuid4().hex)
    assert rows(shared, audit_id) == 75
    with Session(shared) as session, session.begin():
        session.execute(delete(tables.Audit).where(tables.Audit.id == audit_id))
    assert rows(shared, audit_id) == 0


def test_a_gate_says_that_an_earlier_result_has_lost_its_verdicts(
    shared: Engine, capsys: pytest.CaptureFixture[str]
) -> None:
    name = uuid.uuid4().hex
    old, new = (corrupted_audit(Store(shared), right, name=name) for right in (RIGHT, ~RIGHT))
    with Session(shared) as session, session.begin():  # as a downgrade and an upgrade leave it
        session.execute(delete(tables.Corruption).where(tables.Corruption.audit_id == old))
        scan = session.scalars(select(tables.ScanAudit.scan_id).where(tables.ScanAudit.audit_id == new)).one()
    (row,) = list_results(shared, Filter(id=new))
    assert find_unmet(shared, GateOptions(fail_under=None, fail_on_regression=True), scan, [row]) == []
    assert f"result {old} has no verdicts by image and corruption" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("norm", "published", "claimed", "flags"),
    [
        (PUBLISHED, 0.5, 0.5, []),
        (PUBLISHED, 0.9, 0.9, ["robust_accuracy_mismatch"]),
        (PUBLISHED, 0.1, 0.1, ["robust_accuracy_mismatch"]),
        (PUBLISHED, None, None, []),
        (GENERATED, 0.9, None, []),
    ],
)
def test_the_published_accuracy_is_a_claim_about_published_files(
    shared: Engine, norm: str, published: float | None, claimed: float | None, flags: list[str]
) -> None:
    name = uuid.uuid4().hex
    right = np.random.default_rng(1).random((75, 200)) < 0.5
    corrupted_audit(Store(shared), right, name=name, norm=norm)
    figures = Published(
        model=f"demo:{name}", norm="Linf", eps=0.1, autoattack_accuracy=0.3, corruptions_accuracy=published
    )
    store_published(shared, [figures])
    (row,) = list_results(shared, Filter(model=f"demo:{name}"))
    assert (row.claimed_robust_accuracy, row.flags) == (claimed, flags)
    with shared.connect() as connection:
        board = pandas.read_sql("SELECT * FROM leaderboard", connection)
    (one,) = board[board["model"] == f"demo:{name}"].to_dict("records")
    assert one["claimed_robust_accuracy"] == claimed or (
        claimed is None and pandas.isna(one["claimed_robust_accuracy"])
    )
    assert one["robust_accuracy_mismatch"] == len(flags)
    plotted = list_plot_models(shared, setting_of(row), "claimed_robust_accuracy", "robust_accuracy", 2000)
    assert [one.x for one in plotted if one.id == row.id] == ([] if claimed is None else [claimed])


def test_down_and_up_again_none_passes_for_a_result_under_attacks(url: str) -> None:
    engine = open_database(url)
    store = Store(engine)
    corrupted = corrupted_audit(store, RIGHT)
    _, (job,) = store.create_scan("demo", REQUEST, [entry("b")])
    attacked = job.audit_id
    assert store.finish(attacked, store.claim(attacked), record("b"))
    with engine.begin() as connection:
        command.downgrade(alembic_config(connection), "0012")
    with engine.connect() as connection:
        assert connection.scalars(text("SELECT audit_id FROM leaderboard")).all() == [attacked]
    upgrade(engine)
    assert schema_drift(engine) == []
    assert [row.id for row in list_results(engine, Filter(status="done"))] == [attacked]
    (cancelled,) = list_results(engine, Filter(status="cancelled"))
    assert (cancelled.id, cancelled.reason) == (corrupted, f"under {GENERATED}, not known to 0012")
    engine.dispose()
