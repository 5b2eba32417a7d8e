"""Scans of local zoos: two folders' models of one name are kept from passing for one another."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from auditor.config import settings
from auditor.db.results import Filter, list_results
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.errors import UsageError
from auditor.records import AuditRequest, Estimate, Measurement
from auditor.scans.local import LocalExecutor
from auditor.scans.plan import plan_scan
from auditor.scans.request import ScanRequest
from tests.factories.records import entry, record
from tests.factories.reporters import Nowhere, Silent

REQUEST = ScanRequest(measurement=Measurement(audit=AuditRequest(protocol="screen"), samples=0))


@pytest.fixture
def store() -> Store:
    return Store(open_database(settings().database_url))


def scan(store: Store, place: Path | None, model: str = "local:m") -> None:
    one = replace(entry(), model=model, place=place and str(place))
    executor = LocalExecutor(store=store, measure=lambda *_: record(), reporter=Silent())
    executor.run_scan(Nowhere(), "local", [one], REQUEST)


def plan(store: Store, place: Path) -> None:
    one = replace(entry(), model="local:m", place=str(place))
    plan_scan(store, Nowhere(), [one], REQUEST, Silent(), lambda *_: Estimate(1, 1))


@pytest.mark.parametrize("run", [scan, plan])
def test_a_model_of_another_folder_is_refused_before_anything_is_made(store: Store, tmp_path: Path, run: Any) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    scan(store, tmp_path / "a")
    with pytest.raises(UsageError) as caught:
        run(store, tmp_path / "b")
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    for part in ("local:m is a model of ", str(tmp_path / "a"), str(tmp_path / "b"), "zoo.toml", "team-b/m"):
        assert part in message
    assert len(list_results(store.engine, Filter(history=True))) == 1
    scan(store, tmp_path / "b", "local:team-b/m")
    scan(store, tmp_path / "a")
    assert store.find_places(["local:m", "local:team-b/m", "local:x"]) == {
        "local:m": str(tmp_path / "a"),
        "local:team-b/m": str(tmp_path / "b"),
    }


@pytest.mark.parametrize("fate", ["gone", "a file now", "a link to the new one", "not known", "the same"])
def test_a_model_that_has_moved_is_the_same_model(store: Store, tmp_path: Path, fate: str) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    scan(store, None if fate == "not known" else old)
    if fate == "the same":
        new = old
    else:
        old.rename(new)
    if fate == "a file now":
        old.write_text("")
    if fate == "a link to the new one":
        old.symlink_to(new)
    plan(store, new)
    scan(store, new)
    assert store.find_places(["local:m"]) == {"local:m": str(new)}
    assert len(list_results(store.engine, Filter())) == 1


def test_zoos_without_a_folder_share_their_names(store: Store, tmp_path: Path) -> None:
    scan(store, None)
    scan(store, tmp_path)
    scan(store, None)
    assert store.find_places(["local:m"]) == {}
