"""Several hosts, as network namespaces: one with Redis and PostgreSQL, two with workers. One loses its link."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from auditor.network.connections import DEAD_SECONDS
from tests.factories.services import Cluster, closed_at_the_end
from tests.workers.network import SUBNET, Host, hosts
from tests.workers.team import Redis, Team, make_team, until


@pytest.fixture
def network() -> Iterator[list[Host]]:
    with hosts(3) as made:
        yield made


@pytest.fixture
def spread(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    network: list[Host],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Team]:
    """A team whose services are on the first host; the test itself, on none, reaches them by files' sockets."""
    folder = tmp_path_factory.mktemp("services")
    services = network[0]
    cluster = Cluster(folder, within=services.within, trusted=SUBNET)
    redis = Redis("--bind", "*", "--protected-mode", "no", within=services.within, socket=folder / "redis.sock")
    monkeypatch.setenv(
        "AUDITOR_DATABASE_URL", f"postgresql+psycopg://postgres@/postgres?host={folder}&port={cluster.port}"
    )
    try:
        with closed_at_the_end("postgres"), make_team(tmp_path, redis, monkeypatch) as team:
            team.over_the_network = {
                "AUDITOR_DATABASE_URL": f"postgresql+psycopg://postgres@{services.address}:{cluster.port}/postgres?sslmode=disable",
                "AUDITOR_BROKER_URL": f"redis://{services.address}:{redis.port}/0",
            }
            yield team
    finally:
        redis.stop()
        cluster.stop()


@pytest.mark.slow
def test_a_host_that_loses_its_link_loses_its_audit_and_writes_nothing_when_it_is_back(
    spread: Team, network: list[Host]
) -> None:
    _, one, other = network
    spread.zoo.gate("held")
    spread.zoo.add("a")
    scan = spread.scan("--protocol", "screen")
    lost = spread.worker(within=one.within, **spread.over_the_network).ready()
    spread.zoo.loading("held")
    kept = spread.worker(within=other.within, **spread.over_the_network).ready()
    one.cut()
    began = time.monotonic()
    spread.zoo.loading("held")
    spread.zoo.open("held")  # for both: the one that is cut off finishes its measurement, too
    found = spread.ended(scan)
    assert {row["state"] for row in found.values()} == {"done"}
    assert (found["held"]["attempt"], found["held"]["losses"]) == (2, 1)
    assert found["held"]["worker"].split(":")[-1] in {str(pid) for pid in kept.pool()}
    until(
        lambda: "waiting for the database" in lost.read_log(),
        DEAD_SECONDS + 30,
        f"the one cut off notices; {lost.read_log()}",
    )
    assert time.monotonic() - began < DEAD_SECONDS + 20
    rows = [spread.rows(f"SELECT * FROM {table} ORDER BY 1") for table in ("audits", "clusterings")]
    one.mend()
    until(lambda: "local:held: taken" in lost.read_log(), 40, "the late one is refused")
    assert [spread.rows(f"SELECT * FROM {table} ORDER BY 1") for table in ("audits", "clusterings")] == rows
    spread.zoo.add("b")
    kept.end()  # so that it is the one that is back that takes the next audit
    later = spread.ended(spread.scan("--protocol", "screen"))
    assert later["b"]["state"] == "done"
