"""Workers that are killed or stopped, brokers that lose messages or go away, beats that start again."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.faults.reference import run_auditor, scan_command
from benchmarks.faults.scenario import Scenario
from benchmarks.faults.stage import LEASE, Stage, services
from tests.factories.services import Cluster
from tests.workers.team import Redis, until


class WorkersKilled(Scenario):
    name = "workers killed"
    fault = "SIGKILL for one worker, alone or with all of its processes; another one starts"
    every = 5

    def inject(self, stage: Stage) -> None:
        stage.remove_worker(stage.draw_worker(), all_of_it=stage.draw.random() < 0.5)
        stage.start_worker()


class WorkersStopped(Scenario):
    name = "workers stopped"
    fault = f"SIGSTOP for all processes of one worker, SIGCONT after {2.5 * LEASE:g} s, which is 2.5 leases"
    every = 3

    def inject(self, stage: Stage) -> None:
        worker = stage.draw_worker()
        family = worker.family()
        for process in family:
            process.suspend()
        time.sleep(2.5 * LEASE)
        for process in family:
            process.resume()


class BrokerFlushed(Scenario):
    name = "broker flushed"
    fault = "Redis loses all that it holds (FLUSHALL)"

    def inject(self, stage: Stage) -> None:
        stage.broker.ask("FLUSHALL")


class BrokerReplaced(Scenario):
    name = "broker replaced"
    fault = "SIGKILL for Redis; after 5 s an empty one serves its address"
    every = 15

    def inject(self, stage: Stage) -> None:
        stage.broker.kill()
        time.sleep(5)
        stage.broker.start()


class BrokerKilled(BrokerReplaced):
    name = "broker killed"
    fault = "SIGKILL for Redis, which starts again after 5 s with its append-only file"

    @contextlib.contextmanager
    def make_services(self, folder: Path) -> Iterator[tuple[Cluster, Redis]]:
        with services(folder, "--appendonly", "yes", "--dir", str(folder)) as made:
            yield made


class TwoBeats(Scenario):
    name = "two beats"
    fault = "two `auditor beat` start at once over the same due time; the two before them get SIGKILL"
    every = 15

    def __init__(self) -> None:
        self.beats: list[subprocess.Popen[bytes]] = []
        self.started = 0

    def begin(self, stage: Stage) -> None:
        words = scan_command(stage.zoo, stage.options.samples)
        run_auditor(["schedule", "add", "nightly", "--cron", "0 2 * * *", "--", *words], stage.environment)
        stage.sql("UPDATE schedules SET changed_at = changed_at - INTERVAL '2 days'")  # the last 02:00 is due
        self.start_beats(stage)
        until(lambda: sum((stage.counts() or {}).values()) == stage.options.audits, 120, "a beat has sent the scan")
        stage.faults += 1
        for _ in range(stage.options.workers):
            stage.start_worker()

    def inject(self, stage: Stage) -> None:
        self.kill_beats()
        self.start_beats(stage)

    def start_beats(self, stage: Stage) -> None:
        for _ in range(2):
            self.started += 1
            with (stage.folder / f"beat-{self.started}.log").open("wb") as log:
                command = [sys.executable, "-m", "auditor", "beat"]
                environment = os.environ | stage.environment
                self.beats.append(subprocess.Popen(command, stderr=log, env=environment, start_new_session=True))

    def kill_beats(self) -> None:
        for beat in self.beats:
            beat.kill()
            beat.wait()
        self.beats = []

    def end(self, stage: Stage) -> None:  # noqa: ARG002
        self.kill_beats()

    def check(self, stage: Stage) -> list[str]:
        wrong = [f"a beat ended by itself with {beat.returncode}" for beat in self.beats if beat.poll() is not None]
        runs = stage.sql("SELECT state, COUNT(*) FROM schedule_runs GROUP BY 1")
        if runs != [("done", 1)]:
            wrong.append(f"expected one run of the schedule, done; got {runs}")
        stage.notes.append(f"{self.started} beats, one run of the schedule, one scan")
        return wrong
