"""Results with attacks beyond a protocol: a series of their own in the database, and through migrations."""

import dataclasses

import numpy as np
import pytest
from alembic import command
from sqlalchemy import Engine, inspect, text

from auditor.db.boards import count_boards, load_board
from auditor.db.filters import Filter as AnyFilter
from auditor.db.plot_models import count_settings
from auditor.db.results import Filter, list_results
from auditor.db.session import alembic_config, open_database, schema_drift, upgrade
from auditor.db.store import Store
from auditor.records.extra_attacks import AttackFile, ExtraAttacks, TransferModel, attacks_in
from auditor.results.comparison import compare
from auditor.results.lookup import find_rows
from auditor.results.previous import previous_result, previous_verdicts
from auditor.results.ranking import describe_setting, setting_of
from tests.factories.records import REQUEST, entry, record

OWN = ExtraAttacks(own=(AttackFile(path="/x/cw.py", function="attack", sha256="12345678" + "0" * 56),))
TRANSFER = ExtraAttacks(transfer=(TransferModel(model="demo:b"),))


def store(engine: Engine, extra: ExtraAttacks | None, accuracy: float) -> tuple[int, int]:
    """A done audit; returns its ID and its scan's."""
    store = Store(engine)
    asked = None if extra is None else dataclasses.asdict(extra)
    scan_id, (job,) = store.create_scan("demo", REQUEST | {"extra_attacks": asked}, [entry()])
    label = None if extra is None else extra.label
    base = record()
    assert base.verdicts is not None
    verdicts = dataclasses.replace(base.verdicts, pictures=np.arange(3, dtype=np.uint64))
    found = dataclasses.replace(base, verdicts=verdicts, images_sha256="s" * 64)
    found = dataclasses.replace(found, extra_attacks=label, robust_accuracy=accuracy)
    assert store.finish(job.audit_id, store.claim(job.audit_id), found)
    return job.audit_id, scan_id


def test_labels() -> None:
    assert OWN.label == "cw.py:attack@12345678"
    both = ExtraAttacks(transfer=TRANSFER.transfer, own=OWN.own)
    assert both.label == "transfer from demo:b, cw.py:attack@12345678"
    assert attacks_in(dataclasses.asdict(both)) == both
    assert attacks_in(None) is None
    assert (OWN.runs_code, TRANSFER.runs_code) == (True, False)


def test_each_label_has_its_own_newest_result(url: str) -> None:
    engine = open_database(url)
    stored = [store(engine, *given) for given in ((None, 0.9), (OWN, 0.1), (None, 0.8), (TRANSFER, 0.5), (OWN, 0.2))]
    ids = [audit_id for audit_id, _ in stored]
    rows = {row.id: row for row in list_results(engine, Filter())}
    assert {number: row.robust_accuracy for number, row in rows.items()} == {ids[2]: 0.8, ids[3]: 0.5, ids[4]: 0.2}
    assert find_rows(engine, "demo:a", None, None)[0].id == ids[2]
    assert describe_setting(setting_of(rows[ids[4]])).endswith(", with cw.py:attack@12345678")
    boards = count_boards(engine, AnyFilter())
    assert sorted(boards.values()) == [1, 1, 1]
    assert {row.id for key in boards for row in load_board(engine, key, "model")} == set(rows)
    assert set(count_settings(engine, "gap", "robust_accuracy")) == set(boards)
    # The earlier result of each is one of its own series.
    for newest, earlier in ((2, 0), (4, 1)):
        number, scan = stored[newest]
        before = previous_result(engine, rows[number], scan)
        assert before is not None
        assert before.id == ids[earlier]
        assert previous_verdicts(engine, number, scan)[0] == ids[earlier]
    number, scan = stored[3]
    assert previous_result(engine, rows[number], scan) is None
    assert previous_verdicts(engine, number, scan) is None
    with engine.connect() as connection:
        board = connection.execute(text("SELECT extra_attacks, robust_accuracy FROM leaderboard ORDER BY audit_id"))
        assert [tuple(row) for row in board] == [(None, 0.8), (TRANSFER.label, 0.5), (OWN.label, 0.2)]
    engine.dispose()


def test_results_of_different_attacks_get_no_verdict(url: str) -> None:
    engine = open_database(url)
    (plain, _), (own, _) = store(engine, None, 0.9), store(engine, OWN, 0.1)
    found = compare(engine, f"demo:a@{plain}", f"demo:a@{own}", None)
    assert found.more_robust is None
    assert found.verdict == (
        f"no verdict: attacked beyond the protocol: demo:a@{plain} by no attack and demo:a@{own} by {OWN.label}"
    )
    engine.dispose()


def test_a_failed_audit_of_a_series_is_the_latest_of_that_series_alone(url: str) -> None:
    engine = open_database(url)
    plain, _ = store(engine, None, 0.9)
    queue = Store(engine)
    _, (job,) = queue.create_scan("demo", REQUEST | {"extra_attacks": dataclasses.asdict(OWN)}, [entry()])
    assert queue.fail(job.audit_id, queue.claim(job.audit_id), "no such step")
    assert {row.id for row in list_results(engine, Filter())} == {plain, job.audit_id}
    again, _ = store(engine, OWN, 0.3)
    assert {row.id for row in list_results(engine, Filter())} == {plain, again}
    engine.dispose()


@pytest.mark.long
def test_down_and_up_again_none_passes_for_a_result_of_the_protocol(url: str) -> None:
    engine = open_database(url)
    (plain, _), (own, _) = store(engine, None, 0.9), store(engine, OWN, 0.1)
    with engine.begin() as connection:
        command.downgrade(alembic_config(connection), "0014")
    assert "extra_attacks" not in {column["name"] for column in inspect(engine).get_columns("audits")}
    with engine.connect() as connection:
        assert connection.execute(text("SELECT audit_id, robust_accuracy FROM leaderboard")).all() == [(plain, 0.9)]
    upgrade(engine)
    assert schema_drift(engine) == []
    assert [row.id for row in list_results(engine, Filter(status="done"))] == [plain]
    (cancelled,) = list_results(engine, Filter(status="cancelled"))
    assert (cancelled.id, cancelled.robust_accuracy) == (own, 0.1)
    assert cancelled.reason == "with cw.py:attack@12345678, not known to 0014"
    engine.dispose()
