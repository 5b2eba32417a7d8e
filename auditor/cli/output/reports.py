"""``--sarif`` and ``--junit``: the results of a scan as files for CI systems."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from auditor.evidence.sarif import Place
    from auditor.records.results import ResultRow, UnmetGate


@dataclass(frozen=True)
class ReportOptions:
    """The files to write; None for none."""

    sarif: Path | None = None
    junit: Path | None = None

    @property
    def any(self) -> bool:
        return self.sarif is not None or self.junit is not None


def report_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of the files."""
    file = click.Path(dir_okay=False, path_type=Path)
    sarif = click.option(
        "--sarif", type=file, metavar="FILE",
        help="Write gates that were not met, failed audits and flags to this file in SARIF 2.1.0, for code scanning.",
    )  # fmt: skip
    junit = click.option(
        "--junit", type=file, metavar="FILE",
        help="Write the results to this file in JUnit XML: a suite for each model, with a case for each gate.",
    )  # fmt: skip
    return sarif(junit(command))


def check_files(options: ReportOptions) -> None:
    """Make the folders of the files, before a scan that may take hours. Raises UsageError: they are not writable."""
    from auditor.cli.folders import prepare_folder

    for option, path in (("--sarif", options.sarif), ("--junit", options.junit)):
        if path is not None:
            prepare_folder(option, path.absolute().parent)


def write_reports(
    options: ReportOptions,
    rows: "Sequence[ResultRow]",
    gates: Sequence[str],
    unmet: "Sequence[UnmetGate]",
    zoo: Path | None,
) -> None:
    """Write the files; ``zoo`` is the folder of a local zoo, where viewers show the results. Raises UsageError."""
    from auditor.errors import UsageError
    from auditor.evidence.junit import write_junit
    from auditor.evidence.sarif import write_sarif
    from auditor.files import write_atomically

    made = []
    if options.sarif is not None:
        made.append((options.sarif, write_sarif(rows, unmet, {} if zoo is None else find_places(rows, zoo))))
    if options.junit is not None:
        made.append((options.junit, write_junit(rows, gates, unmet)))
    for path, content in made:
        try:
            with write_atomically(path) as out:
                out.write(content)
        except OSError as error:
            raise UsageError(f"cannot write {path}: {error.strerror}") from error


def find_places(rows: "Sequence[ResultRow]", zoo: Path) -> "dict[str, Place]":
    """The line of each model's name in zoo.toml; the first line for a model whose name is not found."""
    from urllib.parse import quote

    from auditor.evidence.sarif import Place
    from auditor.zoo.local.zoo_file import find_model_lines

    file = zoo.absolute() / "zoo.toml"
    inside = file.is_relative_to(Path.cwd())
    uri = quote(file.relative_to(Path.cwd()).as_posix()) if inside else file.as_uri()
    named = find_model_lines(zoo.absolute())
    return {row.model: Place(uri, named.get(row.model.partition(":")[2], 1)) for row in rows}
