"""``auditor trainings``: list, show, follow, cancel and resume boosts and adaptations."""

import click

from auditor import tracing
from auditor.cli.choice import Choice
from auditor.cli.group import Group
from auditor.cli.listing import Listing, list_options
from auditor.cli.options import FORMAT, QUEUE, ROW_ID, WAIT, PlaceOptions

TRAINING = click.argument("training_id", metavar="ID", type=ROW_ID)


@click.group("trainings", cls=Group)
def command() -> None:
    """List, show, follow, cancel and resume training jobs: boosts and adaptations."""


@command.command("list")
@click.option("--kind", type=Choice(["boost", "adapt"]), help="List only jobs of this kind.")
@click.option(
    "--state",
    type=Choice(["queued", "running", "done", "failed", "cancelled"]),
    help="List only jobs in this state.",
)
@list_options()
def list_(kind: str | None, state: str | None, listing: Listing) -> None:
    """List boosts and adaptations, the newest first.

    \b
    Examples:
      auditor trainings list
      auditor trainings list --state running --format json
      auditor trainings list --kind adapt --filter 'model=demo:*' --sort -seconds
    """
    from auditor.cli.db import open_tidied
    from auditor.cli.output.states import state_of
    from auditor.cli.output.tables import print_fields
    from auditor.db.trainings import list_trainings
    from auditor.records.trainings import TrainingRow
    from auditor.results.serialize import keys_of

    rows = list_trainings(open_tidied(), kind=kind, state=state)  # type: ignore[arg-type]
    names = ["id", "kind", "model", "state", "queue", "attempt", "part", "queued_at", "reason"]
    optional = ["attempt", "queue", "part", "queued_at"]
    listing.print(
        rows,
        lambda chosen: print_fields(names, chosen, optional, state=state_of),
        nothing="no boosts or adaptations",
        keys=keys_of(TrainingRow),
    )


@command.command()
@TRAINING
@FORMAT
def show(training_id: int, output_format: str) -> None:
    """Show a training job: its epochs so far, and its result.

    \b
    Examples:
      auditor trainings show 7
      auditor trainings show 7 --format json
    """
    from auditor.cli.db import open_tidied
    from auditor.cli.run_training import epoch_line, epochs_of, show_training
    from auditor.db.trainings import load_training

    engine = open_tidied()
    row = load_training(engine, training_id)
    if output_format != "json":
        for score in row.history:
            click.echo(epoch_line(score, epochs_of(row.request)))
    show_training(engine, training_id, output_format)


@command.command()
@TRAINING
@FORMAT
def follow(training_id: int, output_format: str) -> None:
    """Follow a training job until it has ended; Ctrl-C stops following, not the job.

    \b
    Examples:
      auditor trainings follow 7
    """
    from auditor.cli import run_training as training
    from auditor.cli.db import open_tidied

    engine = open_tidied()
    training.follow(engine, training_id)
    training.show_training(engine, training_id, output_format)


@command.command()
@TRAINING
def cancel(training_id: int) -> None:
    """Cancel a training job; the state of its last epoch is kept.

    \b
    Examples:
      auditor trainings cancel 7
    """
    from auditor.cli.db import open_tidied
    from auditor.db.trainings import Trainings

    state = Trainings(open_tidied()).cancel(training_id, "cancelled by its user")
    outcomes = {"running": "will end within seconds", "cancelled": "is cancelled"}
    click.echo(f"training {training_id} {outcomes.get(state, f'has already ended: {state}')}", err=True)


@command.command()
@TRAINING
@QUEUE
@WAIT
@FORMAT
def resume(training_id: int, queued: bool | None, wait: bool, output_format: str) -> None:
    """Resume a failed or cancelled job: a boost from its last epoch, an adaptation from the beginning.

    \b
    Examples:
      auditor trainings resume 7
      auditor trainings resume 7 --queue --wait
    """
    from auditor.cli.db import open_tidied
    from auditor.cli.run_scan import decide, set_up_logs_and_traces, sigterm_interrupts
    from auditor.cli.run_training import run_or_send
    from auditor.config import settings
    from auditor.db.trainings import Trainings, load_training
    from auditor.trainings.run import check_request

    sigterm_interrupts()
    set_up_logs_and_traces()
    trainings = Trainings(open_tidied(), settings().database_patience)
    row = load_training(trainings.engine, training_id)
    request = check_request(row.kind, row.request)
    where = decide(PlaceOptions(queued=queued, wait=wait), request["device"])
    if not where.is_local:
        from auditor.jobs.queue import check_length

        check_length(request["seconds"])
    parent = request.get(tracing.CARRIER)
    with tracing.span(row.kind, parent=parent, model=row.model, queue=where.queue, training=training_id):
        run_or_send(trainings, trainings.resume(training_id, where.queue), where, output_format)
