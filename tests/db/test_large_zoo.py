"""The large zoo that pages and benchmarks are tried on: what it says is what the database says."""

import pytest
from sqlalchemy import text

from auditor.db.checkpoints import list_checkpoints
from auditor.db.results import Filter, list_results, load_detail
from auditor.db.scans import load_scan
from auditor.db.session import open_database
from auditor.db.tokens import check_token
from auditor.db.trainings import list_trainings
from auditor.db.workers import list_workers
from auditor.records.adaptations import result_from
from auditor.results.comparison import compare
from auditor.scheduling.due import load_schedules
from auditor.trainings.adapt import AdaptJobRequest
from auditor.trainings.boost import BoostRequest
from tests.factories.large_zoo import AWKWARD, fill_zoo
from tests.factories.latest import check


@pytest.mark.long
@pytest.mark.parametrize("long_names", [False, True])
def test_the_large_zoo_is_one_that_a_service_could_have_made(url: str, long_names: bool) -> None:
    engine = open_database(url)
    made = fill_zoo(engine, models=200, nights=3, long_names=long_names)
    check(engine)
    rows = list_results(engine, Filter())
    assert len({row.model for row in rows}) == 200 - sum(row.status == "cancelled" for row in rows)
    assert {row.status for row in rows} == {"done", "failed"}
    assert (len(list_results(engine, Filter(history=True))), made.models) == (made.audits, 200)
    for state in ("done", "failed", "cancelled", "running", "queued"):
        assert list_results(engine, Filter(id=getattr(made, state), history=True))[0].status == state

    detail = load_detail(engine, made.done)
    assert detail.verdicts is not None
    assert detail.verdicts.survived.mean() == detail.row.robust_accuracy
    assert detail.verdicts.correct.mean() == detail.row.clean_accuracy
    assert [score.n - score.broken for score in detail.attacks][-1] == detail.verdicts.survived.sum()
    assert compare(engine, *made.compared[:2], None).n == detail.row.n == 1000
    assert (AWKWARD in detail.row.model) == long_names

    scan = load_scan(engine, made.running_scan)
    assert (scan.running, scan.queued, scan.reused) == (3, 9, 3)
    assert {worker.scan for worker in list_workers(engine)} == {scan.scan, None}
    owner = check_token(engine, made.jobs.token)
    assert owner is not None
    assert owner.scope == "admin"
    boosts, adaptations = (list_trainings(engine, kind=kind) for kind in ("boost", "adapt"))
    assert all(BoostRequest.from_json(row.request).recipe.epochs for row in boosts)
    assert all(AdaptJobRequest.from_json(row.request).adapt.seeds for row in adaptations)
    assert all(result_from(row.result).scores for row in adaptations if row.result)
    assert len(list_checkpoints(engine)) == sum(row.state == "done" for row in boosts)
    assert {row.problem for row in load_schedules(engine)} == {None}
    with engine.begin() as connection:  # numbers that follow are free
        names = "name, source, description, dataset, architecture, training"
        connection.execute(
            text(f"INSERT INTO models ({names}) VALUES ('demo:new', 'demo', '', 'svhn', '{{}}', '{{}}')")
        )
    engine.dispose()
