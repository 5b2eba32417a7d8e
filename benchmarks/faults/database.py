"""PostgreSQL that is restarted, ends its connections, has no room, takes no writes, or is restored from a dump."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.faults.scenario import Scenario
from benchmarks.faults.stage import Stage, services
from tests.factories.services import Cluster
from tests.workers.team import Redis


class DatabaseRestarted(Scenario):
    name = "PostgreSQL restarted"
    fault = "PostgreSQL stops at once, as in a crash, and starts again after 6 s"
    every = 20

    def inject(self, stage: Stage) -> None:
        stage.cluster.stop()
        time.sleep(6)
        stage.cluster.start()


class ConnectionsEnded(Scenario):
    name = "connections ended"
    fault = "all connections to PostgreSQL are ended at once (pg_terminate_backend)"
    every = 5

    def __init__(self) -> None:
        self.ended = 0

    def inject(self, stage: Stage) -> None:
        others = "backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ended = stage.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
        self.ended += len(ended)

    def check(self, stage: Stage) -> list[str]:
        stage.notes.append(f"{self.ended} connections ended")
        return []


class DatabaseReadOnly(Scenario):
    name = "PostgreSQL read-only"
    fault = "PostgreSQL takes no writes for 8 s (default_transaction_read_only)"
    every = 20

    def inject(self, stage: Stage) -> None:
        self.set_read_only(stage, "on")
        time.sleep(8)
        self.set_read_only(stage, "off")

    @staticmethod
    def set_read_only(stage: Stage, value: str) -> None:
        stage.sql(f"ALTER SYSTEM SET default_transaction_read_only = {value}")
        stage.sql("SELECT pg_reload_conf()")


class DiskFull(Scenario):
    name = "disk full"
    fault = "the file system of PostgreSQL, a tmpfs, has no free byte for 8 s"
    every = 20
    size = "224m"

    def __init__(self) -> None:
        self.crashes = 0

    @contextlib.contextmanager
    def make_services(self, folder: Path) -> Iterator[tuple[Cluster, Redis]]:
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={self.size},mode=0755", "tmpfs", folder], check=True)
        try:
            with services(folder) as (cluster, broker):
                yield cluster, broker
        finally:
            subprocess.run(["umount", "-l", folder], check=True)

    def begin(self, stage: Stage) -> None:
        for setting in ("min_wal_size = '32MB'", "max_wal_size = '48MB'"):  # so that it fits
            stage.sql(f"ALTER SYSTEM SET {setting}")
        stage.sql("SELECT pg_reload_conf()")
        super().begin(stage)

    def inject(self, stage: Stage) -> None:
        ballast = stage.cluster.folder / "ballast"
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
        time.sleep(8)
        ballast.unlink()
        if not stage.cluster.is_running():
            self.crashes += 1
            stage.cluster.start()

    def check(self, stage: Stage) -> list[str]:
        stage.notes.append(f"PostgreSQL gave up and was started again {self.crashes} times")
        return []


class Restored(Scenario):
    name = "backup and restore"
    fault = "pg_dump while audits run; 10 s later the workers get SIGKILL, and new ones go on from the restored dump"

    def is_due(self, stage: Stage, counts: dict[str, int], seconds: float) -> bool:  # noqa: ARG002
        """After a quarter, a half and three quarters of the audits."""
        return stage.faults < 3 and counts.get("done", 0) >= stage.options.audits * (stage.faults + 1) / 4

    def inject(self, stage: Stage) -> None:
        dump, restored = stage.folder / f"{stage.faults}.dump", f"restored_{stage.faults}"
        self.run(stage, "pg_dump", "--format=custom", f"--file={dump}", stage.database)
        dumped = (stage.counts() or {}).get("done", 0)
        time.sleep(10)  # what ends now is not in the dump
        for worker in list(stage.workers):
            stage.remove_worker(worker, all_of_it=True)
        ended = (stage.counts() or {}).get("done", 0)
        self.run(stage, "createdb", restored)
        self.run(stage, "pg_restore", f"--dbname={restored}", "--exit-on-error", str(dump))
        stage.database = restored
        stage.notes.append(f"about {ended - dumped} audits ended after dump {stage.faults + 1} and were measured again")
        for _ in range(stage.options.workers):
            stage.start_worker()

    @staticmethod
    def run(stage: Stage, program: str, *words: str) -> None:
        where = [f"--host={stage.cluster.folder}", f"--port={stage.cluster.port}", "--username=postgres"]
        subprocess.run([str(stage.cluster.programs / program), *where, *words], check=True)
