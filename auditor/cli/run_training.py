"""Boosts and adaptations where they run: in this process or by a worker, followed, and what they came to."""

import contextlib
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

from auditor.cli.output.progress import ScanProgress, say

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from auditor.db.trainings import Kind, TrainingJob, Trainings
    from auditor.records import ZooEntry
    from auditor.records.boosts import EpochScore
    from auditor.trainings.adapt import AdaptJobRequest
    from auditor.trainings.boost import BoostRequest

Row = dict[str, Any]
LOOK_SECONDS = 1.0
ENDED = ("done", "failed", "cancelled")


class TrainingProgress:
    """How a training gets on: bars on a terminal, a line for each stage and epoch elsewhere; always on stderr."""

    def __init__(self, epochs: int) -> None:
        self.epochs, self.name = epochs, ""
        self.bars = ScanProgress(1)

    def __enter__(self) -> Self:
        self.bars.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bars.__exit__(kind, error, trace)

    def stage(self, words: str) -> None:
        say(words)

    def model(self, name: str) -> None:
        self.bars.model(name)

    def part(self, name: str, part: str, done: int, total: int) -> None:
        if self.bars.bars and name not in self.bars.running:
            self.bars.model(name)
        self.bars.part(name, part, done, total)

    def ended(self, name: str, outcome: str) -> None:  # noqa: ARG002
        """Of an audit: its stage has been told, its result will be."""
        if self.bars.bars and name in self.bars.running:
            self.bars.bars.remove_task(self.bars.running.pop(name))

    def epoch(self, score: "EpochScore") -> None:
        from dataclasses import asdict

        say(epoch_line(asdict(score), self.epochs))


def epoch_line(score: Row, epochs: int) -> str:
    """One epoch in words, with the time that the others will take."""
    loss = "" if not score["number"] else f"loss {number(score['loss'], '.3f')}, "
    left = (epochs - score["number"]) * score["seconds"] if score["number"] else 0
    return (
        f"epoch {score['number']}/{epochs}: {loss}clean {score['clean_accuracy']:.1%}, "
        f"PGD-20 {score['pgd_accuracy']:.1%} of the held-out images, gap {number(score['gap'], '.2f')}, "
        f"{score['seconds']:.0f} s{f', {left / 60:.0f} min left' if left > 90 else ''}"
    )


def epochs_of(request: Row) -> int:
    """How many epochs a boost asks for; an adaptation tells of none."""
    return int(request["recipe"]["epochs"]) if "recipe" in request else 0


def number(value: float | None, form: str) -> str:
    return "none" if value is None or value != value else format(value, form)


def where_of(queued: bool | None, wait: bool, device: str) -> str:
    """The queue that is meant, or ``here``.

    Raises:
        UsageError, EnvironmentUnusableError: there is no queue, or ``--wait`` without one.
    """
    from auditor.cli.run_scan import decide

    return decide({"queued": queued, "wait": wait, "jobs": None, "device": device}).queue


def run_where(
    kind: "Kind",
    model: str,
    entry: "ZooEntry | None",
    request: "BoostRequest | AdaptJobRequest",
    *,
    queue: str,
    wait: bool,
    shape: str,
) -> None:
    """Store what is asked for, run or send it, and print what it came to."""
    from auditor.cli.database import open_settings
    from auditor.config import settings
    from auditor.db.trainings import Trainings
    from auditor.jobs.reaper import abandon_dead_scans

    if queue != "here":
        from auditor.jobs.queue import check_length

        check_length(request.seconds)
    engine = open_settings()
    trainings = Trainings(engine, settings().database_patience)
    if queue == "here":
        abandon_dead_scans(engine)
    job = trainings.create(kind, model, entry, request.to_json(), queue)
    go_on(trainings, job, queue=queue, wait=wait, shape=shape)


def go_on(trainings: "Trainings", job: "TrainingJob", *, queue: str, wait: bool, shape: str) -> None:
    """Run or send a queued job, and print what it came to."""
    if queue == "here":
        _run_here(trainings, job)
    else:
        _send(trainings, job, queue)
        if wait:
            follow(trainings.engine, job.training_id)
    show_training(trainings.engine, job.training_id, shape)


def _run_here(trainings: "Trainings", job: "TrainingJob") -> None:
    from auditor.trainings.run import run_locally

    try:
        with TrainingProgress(epochs_of(job.request)) as progress:
            ended = run_locally(trainings, job, progress)
    except KeyboardInterrupt:
        with contextlib.suppress(Exception):  # the interrupt counts
            trainings.cancel(job.training_id, "interrupted")
            where = "goes on from the last epoch" if job.kind == "boost" else "begins it anew"
            say(f"{job.kind} {job.training_id}: `auditor trainings resume {job.training_id}` {where}")
        raise
    if ended == "taken":
        say(f"{job.kind} {job.training_id} was taken by another process, or ended by it")
        click.get_current_context().exit(1)


def _send(trainings: "Trainings", job: "TrainingJob", queue: str) -> None:
    """Send a stored job's id; where the broker fails in between, a worker's reaper will send it."""
    from auditor.db.workers import list_workers
    from auditor.errors import EnvironmentUnusableError
    from auditor.trainings.run import send_training

    number = job.training_id
    try:
        send_training(trainings, job, queue)
    except EnvironmentUnusableError as error:
        say(f"{error}; the {job.kind} is stored, and sent by any worker once it does")
    say(f"{job.kind} {number} is in the queue {queue}; `auditor trainings follow {number}` watches it")
    if not any(row["queue"] == queue for row in list_workers(trainings.engine)):
        say(f"no worker serves the queue {queue} yet: start one with `auditor worker --queue {queue}`")


def follow(engine: "Engine", training_id: int) -> None:
    """Tell of a job that a worker runs until it has ended; a Ctrl-C ends the watching, not the job."""
    from auditor.db.retry import UNAVAILABLE
    from auditor.db.trainings import load_training

    told, part = 0, ""
    try:
        while True:
            with contextlib.suppress(*UNAVAILABLE):
                row = load_training(engine, training_id)
                for score in row["history"][told:]:
                    say(epoch_line(score, epochs_of(row["request"])))
                told = len(row["history"])
                now = f"{row['part']} {row['part_done']}/{row['part_total']}" if row["part"] else ""
                if now != part and now:
                    say(now)
                part = now
                if row["state"] in ENDED:
                    return
            time.sleep(LOOK_SECONDS)
    except KeyboardInterrupt:
        say(f"{training_id} goes on; `auditor trainings cancel {training_id}` ends it")
        click.get_current_context().exit(130)


def show_training(engine: "Engine", training_id: int, shape: str) -> None:
    """Print what a job came to; exit code 1 where it failed or was cancelled."""
    from auditor.cli.output.tables import print_json
    from auditor.db.trainings import load_training

    row = load_training(engine, training_id)
    if row["kind"] == "boost" and row["state"] == "done":
        from auditor.cli.output.boost import print_boost
        from auditor.db.checkpoints import load_checkpoint

        found = load_checkpoint(engine, training_id)
        print_json([row | found]) if shape == "json" else print_boost(found)
    elif shape == "json":
        print_json([row])
    elif row["state"] == "done":
        from auditor.cli.output.adaptation import print_adaptation

        print_adaptation(row)
    elif row["state"] in ("failed", "cancelled"):
        click.echo(f"{row['kind']} {training_id} of {row['model']}: {row['state']}: {row['reason']}", err=True)
    else:
        click.echo(f"{row['kind']} {training_id} of {row['model']}: {row['state']}")
    if row["state"] in ("failed", "cancelled"):
        click.get_current_context().exit(1)
