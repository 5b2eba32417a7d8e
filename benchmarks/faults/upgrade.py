"""An upgrade of the database while workers of the version before still run."""

import io
import subprocess
import tarfile
from pathlib import Path

from auditor.db.session import HEAD
from benchmarks.faults.reference import run_auditor
from benchmarks.faults.scenario import Scenario
from benchmarks.faults.stage import Stage
from tests.workers.team import Worker, until

ROOT = Path(__file__).parents[2]


class Upgraded(Scenario):
    name = "upgrade"
    fault = "`auditor db upgrade` after a third of the audits; workers of both versions go on side by side"

    def __init__(self) -> None:
        self.commit = newest_commit_before(HEAD)
        self.revision = ""
        self.before = 0
        self.old: list[Worker] = []
        self.environment: dict[str, str] = {}

    def begin(self, stage: Stage) -> None:
        """The version before queues the scan and starts all workers but one."""
        program = stage.folder / "old"
        export(self.commit, program)
        self.environment = {"PYTHONPATH": str(program), "PYTHONSAFEPATH": "1"}
        stage.queue_scan(**self.environment)
        self.revision = self.revision_of(stage)
        for _ in range(max(1, stage.options.workers - 1)):
            self.old.append(stage.start_worker(**self.environment))

    def is_due(self, stage: Stage, counts: dict[str, int], seconds: float) -> bool:  # noqa: ARG002
        return not stage.faults and counts.get("done", 0) >= stage.options.audits / 3

    def inject(self, stage: Stage) -> None:
        run_auditor(["db", "upgrade"], stage.environment)
        self.before = self.count_done()
        for _ in range(stage.options.workers - len(self.old)):
            stage.start_worker()
        late = stage.start_worker(**self.environment)
        until(lambda: late.process.poll() is not None, 120, "a worker of the version before ends")
        stage.workers.remove(late)
        (line,) = late.read_log().strip().splitlines()[-1:]
        stage.notes.append(f"a worker of the version before that starts afterwards ends: {line}")

    def count_done(self) -> int:
        """How many audits the workers of the version before have ended, by their logs."""
        return sum(worker.read_log().count(": done after") for worker in self.old)

    def revision_of(self, stage: Stage) -> str:
        ((revision,),) = stage.sql("SELECT version_num FROM alembic_version")
        return str(revision)

    def check(self, stage: Stage) -> list[str]:
        after = self.revision_of(stage)
        wrong = []
        if self.revision >= HEAD or after != HEAD:
            wrong.append(f"expected an upgrade to {HEAD}, got one from {self.revision} to {after}")
        ended = self.count_done() - self.before
        if not ended:
            wrong.append("the workers of the version before ended no audit after the upgrade")
        stage.notes.append(
            f"from commit {self.commit[:7]}, revision {self.revision}, to revision {after}; the workers of the version "
            f"before ended {self.before} audits before the upgrade and {ended} after it"
        )
        return wrong


def newest_commit_before(head: str) -> str:
    """The newest commit without the migration ``head``."""
    commits = subprocess.run(["git", "rev-list", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for commit in commits.split():
        command = ["git", "ls-tree", "--name-only", commit, "migrations/versions/"]
        files = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        if f"/{head}_" not in files:
            return commit
    raise SystemExit(f"FAILED: no commit is without the migration {head}")


def export(commit: str, folder: Path) -> None:
    """The programs of a commit."""
    command = ["git", "archive", commit, "auditor", "workers", "migrations"]
    archive = subprocess.run(command, cwd=ROOT, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
