"""Run boosts and adaptations in this process or by a worker, follow them, and print their results."""

import contextlib
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import click

from auditor import tracing
from auditor.cli.output.progress import ScanProgress, say
from auditor.errors import ExitCode

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from auditor.cli.run_scan import Where
    from auditor.db.trainings import TrainingJob, Trainings
    from auditor.records import ZooEntry
    from auditor.records.boosts import EpochScore
    from auditor.records.trainings import Kind
    from auditor.trainings.adapt import AdaptJobRequest
    from auditor.trainings.boost import BoostRequest

Row = dict[str, Any]
POLL_SECONDS = 1.0
ENDED = ("done", "failed", "cancelled")


class TrainingProgress:
    """Progress of a training job on stderr: bars on a terminal, else one line for each stage and epoch."""

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
        """Remove the bar of an audit; its result is printed with the job's."""
        if self.bars.bars and name in self.bars.running:
            self.bars.bars.remove_task(self.bars.running.pop(name))

    def epoch(self, score: "EpochScore") -> None:
        from dataclasses import asdict

        say(epoch_line(asdict(score), self.epochs))


def epoch_line(score: Row, epochs: int) -> str:
    """One epoch as text, with the time that the remaining epochs will take."""
    loss = "" if not score["number"] else f"loss {format_number(score['loss'], '.3f')}, "
    left = (epochs - score["number"]) * score["seconds"] if score["number"] else 0
    return (
        f"epoch {score['number']}/{epochs}: {loss}clean {score['clean_accuracy']:.1%}, "
        f"PGD-20 {score['pgd_accuracy']:.1%} of the held-out images, gap {format_number(score['gap'], '.2f')}, "
        f"{score['seconds']:.0f} s{f', {left / 60:.0f} min left' if left > 90 else ''}"
    )


def epochs_of(request: Row) -> int:
    """The number of epochs of a boost; 0 for an adaptation, which reports none."""
    return int(request["recipe"]["epochs"]) if "recipe" in request else 0


def format_number(value: float | None, form: str) -> str:
    return "none" if value is None or value != value else format(value, form)


def run_where(
    where: "Where",
    kind: "Kind",
    model: str,
    entry: "ZooEntry | None",
    request: "BoostRequest | AdaptJobRequest",
    output_format: str,
) -> None:
    """Store a training job, run or send it, and print its result."""
    from auditor.cli.db import open_database, open_tidied
    from auditor.config import settings
    from auditor.db.trainings import Trainings

    if not where.is_local:
        from auditor.jobs.queue import check_length

        check_length(request.seconds)
    engine = open_tidied() if where.is_local else open_database()
    trainings = Trainings(engine, settings().database_patience)
    with tracing.span(kind, model=model, queue=where.queue) as span:
        job = trainings.create(kind, model, entry, request.to_json(), where.queue)
        span.set(training=job.training_id)
        run_or_send(trainings, job, where, output_format)


def run_or_send(trainings: "Trainings", job: "TrainingJob", where: "Where", output_format: str) -> None:
    """Run or send a queued job, and print its result."""
    if where.is_local:
        _run_locally(trainings, job)
    else:
        _send(trainings, job, where.queue)
        if where.wait:
            follow(trainings.engine, job.training_id)
    show_training(trainings.engine, job.training_id, output_format)


def _run_locally(trainings: "Trainings", job: "TrainingJob") -> None:
    from auditor.trainings.run import run_locally

    try:
        with TrainingProgress(epochs_of(job.request)) as progress:
            ended = run_locally(trainings, job, progress)
    except KeyboardInterrupt:
        with contextlib.suppress(Exception):  # report the interrupt, not an error of the cancellation
            trainings.cancel(job.training_id, "interrupted")
            start = "the last epoch" if job.kind == "boost" else "the beginning"
            say(f"`auditor trainings resume {job.training_id}` resumes {job.kind} {job.training_id} from {start}")
        raise
    if ended == "taken":
        say(f"{job.kind} {job.training_id} was claimed or ended by another process")
        click.get_current_context().exit(ExitCode.FAILED)


def _send(trainings: "Trainings", job: "TrainingJob", queue: str) -> None:
    """Send the ID of a stored job; if the broker fails, a worker's reaper sends it later."""
    from auditor.db.trainings import load_training
    from auditor.errors import EnvironmentUnusableError
    from auditor.text.signs_of_life import no_worker, start_worker
    from auditor.trainings.run import send_training

    number = job.training_id
    try:
        send_training(trainings, job, queue)
    except EnvironmentUnusableError as error:
        say(f"{error}; the {job.kind} is stored, and a worker sends it once the broker answers")
    say(f"{job.kind} {number} is in the queue {queue}; `auditor trainings follow {number}` follows it")
    if load_training(trainings.engine, number).unserved:
        say(f"{no_worker(queue)} yet; {start_worker(queue)}")


def follow(engine: "Engine", training_id: int) -> None:
    """Print the progress of a job until it has ended; Ctrl-C stops following, not the job."""
    from auditor.cli.output.follow import part_of
    from auditor.cli.output.states import SilenceReports
    from auditor.db.retry import UNAVAILABLE
    from auditor.db.trainings import load_training

    printed, part, silences = 0, "", SilenceReports()
    try:
        while True:
            with tracing.paused(), contextlib.suppress(*UNAVAILABLE):
                row = load_training(engine, training_id)
                for score in row.history[printed:]:
                    say(epoch_line(score, epochs_of(row.request)))
                printed = len(row.history)
                now = part_of(row)
                if now != part and now:
                    say(now)
                part = now
                silences.report(row)
                if row.state in ENDED:
                    return
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        say(f"training {training_id} still runs; `auditor trainings cancel {training_id}` cancels it")
        click.get_current_context().exit(ExitCode.INTERRUPTED)


def show_training(engine: "Engine", training_id: int, output_format: str) -> None:
    """Print the result of a job; exit with code 1 if it failed or was cancelled."""
    from auditor.cli.output.states import state_of
    from auditor.cli.output.tables import print_json
    from auditor.db.trainings import load_training

    row = load_training(engine, training_id)
    if row.kind == "boost" and row.state == "done":
        from auditor.cli.output.boost import print_boost
        from auditor.db.checkpoints import load_checkpoint
        from auditor.results.serialize import serialize

        checkpoint = load_checkpoint(engine, training_id)
        print_json([serialize(row) | serialize(checkpoint)]) if output_format == "json" else print_boost(checkpoint)
    elif output_format == "json":
        print_json([row])
    elif row.result is not None and row.state == "done":
        from auditor.cli.output.adaptation import print_adaptation

        print_adaptation(row.result)
    elif row.state in ("failed", "cancelled"):
        click.echo(f"{row.kind} {training_id} of {row.model}: {row.state}: {row.reason}", err=True)
    else:
        click.echo(f"{row.kind} {training_id} of {row.model}: {state_of(row)}")
    if row.state in ("failed", "cancelled"):
        click.get_current_context().exit(ExitCode.FAILED)
