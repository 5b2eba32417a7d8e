"""``auditor trainings``: boosts and adaptations as jobs, listed, shown, followed, cancelled, gone on with."""

from typing import TYPE_CHECKING

import click

from auditor.cli.options import FORMAT

if TYPE_CHECKING:
    from sqlalchemy import Engine

TRAINING = click.argument("training_id", metavar="ID", type=click.IntRange(1, 2**31 - 1))


def _engine() -> "Engine":
    """The database, once those of this machine's processes that are gone are ended in it."""
    from auditor.cli.database import open_settings
    from auditor.jobs.reaper import abandon_dead_scans

    engine = open_settings()
    abandon_dead_scans(engine)
    return engine


@click.group("trainings")
def command() -> None:
    """Boosts and adaptations: which there were, how they get on, to end them, and to go on with them."""


@command.command("list")
@click.option("--kind", type=click.Choice(["boost", "adapt"]), help="Only these.")
@click.option(
    "--state",
    type=click.Choice(["queued", "running", "done", "failed", "cancelled"]),
    help="Only those in this state.",
)
@FORMAT
def list_(kind: str | None, state: str | None, shape: str) -> None:
    """List boosts and adaptations, the newest first.

    \b
    Examples:
      auditor trainings list
      auditor trainings list --state running --format json
    """
    from auditor.cli.output.tables import print_json, print_table
    from auditor.db.trainings import list_trainings

    rows = list_trainings(_engine(), kind=kind, state=state)  # type: ignore[arg-type]
    if shape == "json":
        print_json(rows)
    elif not rows:
        click.echo("no boosts or adaptations")
    else:
        names = ["id", "kind", "model", "state", "queue", "attempt", "part", "reason", "queued_at"]
        print_table(names, [["" if row[name] is None else str(row[name]) for name in names] for row in rows])


@command.command()
@TRAINING
@FORMAT
def show(training_id: int, shape: str) -> None:
    """Show one: its epochs so far, and what it came to.

    \b
    Examples:
      auditor trainings show 7
      auditor trainings show 7 --format json
    """
    from auditor.cli.run_training import epoch_line, epochs_of, show_training
    from auditor.db.trainings import load_training

    engine = _engine()
    row = load_training(engine, training_id)
    if shape != "json":
        for score in row["history"]:
            click.echo(epoch_line(score, epochs_of(row["request"])))
    show_training(engine, training_id, shape)


@command.command()
@TRAINING
@FORMAT
def follow(training_id: int, shape: str) -> None:
    """Watch one that a worker runs until it has ended; Ctrl-C ends the watching only.

    \b
    Examples:
      auditor trainings follow 7
    """
    from auditor.cli import run_training as training

    engine = _engine()
    training.follow(engine, training_id)
    training.show_training(engine, training_id, shape)


@command.command()
@TRAINING
def cancel(training_id: int) -> None:
    """End one; the state of its last epoch is kept.

    \b
    Examples:
      auditor trainings cancel 7
    """
    from auditor.db.trainings import Trainings

    state = Trainings(_engine()).cancel(training_id, "cancelled by its user")
    said = {"running": "will end within seconds", "cancelled": "is cancelled"}.get(state, f"is {state}: nothing to end")
    click.echo(f"{training_id} {said}", err=True)


@command.command()
@TRAINING
@click.option("--queue/--here", "queued", default=None, help="Leave it to a worker, or run it in this process.")
@click.option("--wait", is_flag=True, help="With --queue: follow it until it has ended.")
@FORMAT
def resume(training_id: int, queued: bool | None, wait: bool, shape: str) -> None:
    """Go on with one that failed, was cancelled or interrupted: a boost from its last epoch, an adaptation anew.

    \b
    Examples:
      auditor trainings resume 7
      auditor trainings resume 7 --queue --wait
    """
    from auditor.cli.run_scan import log_scan, sigterm_interrupts
    from auditor.cli.run_training import go_on, where_of
    from auditor.config import settings
    from auditor.db.trainings import Trainings, load_training
    from auditor.trainings.run import check_request

    sigterm_interrupts()
    log_scan()
    trainings = Trainings(_engine(), settings().database_patience)
    row = load_training(trainings.engine, training_id)
    asked = check_request(row["kind"], row["request"])
    queue = where_of(queued, wait, asked["device"])
    if queue != "here":
        from auditor.jobs.queue import check_length

        check_length(asked["seconds"])
    go_on(trainings, trainings.resume(training_id, queue), queue=queue, wait=wait, shape=shape)
