"""Links that are cut: PostgreSQL, Redis and workers on hosts of their own, which are network namespaces."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.faults.scenario import Scenario
from benchmarks.faults.stage import Stage, stop_cluster
from tests.factories.services import Cluster
from tests.workers.network import SUBNET, Host, hosts
from tests.workers.team import Redis


class Links(Scenario):
    """Four hosts: PostgreSQL, Redis, and two with workers."""

    def __init__(self) -> None:
        self.hosts: list[Host] = []

    @contextlib.contextmanager
    def make_services(self, folder: Path) -> Iterator[tuple[Cluster, Redis]]:
        with contextlib.ExitStack() as stack:
            self.hosts = stack.enter_context(hosts(4))
            cluster = Cluster(folder, within=self.hosts[0].within, trusted=SUBNET)
            stack.callback(stop_cluster, cluster)
            listen = ("--bind", "*", "--protected-mode", "no")
            broker = Redis(*listen, within=self.hosts[1].within, socket=folder / "redis.sock")
            stack.callback(broker.stop)
            yield cluster, broker

    def begin(self, stage: Stage) -> None:
        stage.queue_scan()
        database, broker, *others = self.hosts
        over_the_network = {
            "AUDITOR_DATABASE_URL": f"postgresql+psycopg://postgres@{database.address}:{stage.cluster.port}/"
            f"{stage.database}?sslmode=disable",
            "AUDITOR_BROKER_URL": f"redis://{broker.address}:{stage.broker.port}/0",
        }
        for number in range(stage.options.workers):
            stage.start_worker(within=others[number % len(others)].within, **over_the_network)

    def cut(self, host: Host, seconds: float) -> None:
        host.cut()
        time.sleep(seconds)
        host.mend()


class BrokerCutOff(Links):
    name = "broker partitioned"
    fault = "the link of Redis' host is cut for 12 s"
    every = 15

    def inject(self, stage: Stage) -> None:  # noqa: ARG002
        self.cut(self.hosts[1], 12)


class WorkersCutOff(Links):
    name = "workers partitioned"
    fault = "the link of a host with workers is cut for 30 s, which is 6 leases; the two hosts take turns"
    every = 8

    def inject(self, stage: Stage) -> None:
        self.cut(self.hosts[2 + stage.faults % 2], 30)
