"""``--save-adversarials``: make the folder before a scan, and report its contents afterwards."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from auditor.text.numbers import counted

if TYPE_CHECKING:
    from auditor.records.results import ResultRow

SAVE = click.option(
    "--save-adversarials",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the adversarial images of each model to DIR, one .npz file per model, but not for reused audits. An "
    "interrupted audit then restarts from the beginning, because its images are not saved midway.",
)


def check_attacks(folder: Path | None, protocol: str) -> None:
    """Raises UsageError if images are to be saved under a protocol that runs no attack."""
    from auditor.errors import UsageError

    if folder is not None and protocol == "screen":
        raise UsageError("--save-adversarials has no meaning under 'screen', which runs no attack")


def prepare(folder: Path | None, protocol: str, *, dry_run: bool = False) -> Path | None:
    """Make the folder and check that it is writable; return its absolute path, or None without the option.

    A dry run makes nothing.

    Raises:
        UsageError: the protocol runs no attack, or the folder is not writable.
    """
    from auditor.cli.folders import prepare_folder

    check_attacks(folder, protocol)
    if folder is None or dry_run:
        return folder and folder.absolute()
    prepare_folder("--save-adversarials", folder)
    return folder.absolute()


def say_saved(folder: Path | None, rows: "Sequence[ResultRow]", reused: Sequence[str]) -> None:
    """Report on stderr how many files were written, and which models have none and why."""
    from auditor.attacks import adversarials_file
    from auditor.cli.output.progress import say

    if folder is None:
        return
    made = [row for row in rows if row.status == "done" and row.model not in reused]
    missing = [row for row in made if not adversarials_file(folder, row.model, row.identity or "").exists()]
    say(f"adversarial images of {counted(len(made) - len(missing), 'model')} in {folder}")
    for model in reused:
        say(f"{model}: no adversarial images written, the audit was done before; --force repeats it")
    for row in missing:
        reason = next((note for note in row.notes if "not saved" in note), "no adversarial images written")
        say(f"{row.model}: {reason}")
