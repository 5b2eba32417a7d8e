"""The command line: one file per command group. Commands import what they need when they run."""

import contextlib
import errno
import gc
import importlib
import io
import logging
import os
import signal
import sys
from typing import Any

import click

from auditor.cli.group import Group
from auditor.errors import AuditorError, ExitCode, UsageError, first_line
from auditor.text.printable import clean_lines
from auditor.text.redaction import redact_urls


class Commands(Group):
    """A group that imports a command's module when it is used, and prints an error as one line."""

    modules = {  # noqa: RUF012
        "init": "init", "scan": "scan", "scans": "scans", "zoo": "zoo", "results": "results", "report": "report",
        "evidence": "evidence", "boost": "boost",
        "adapt": "adapt", "checkpoints": "checkpoints", "trainings": "trainings", "worker": "worker",
        "workers": "worker:listing", "schedule": "schedule", "beat": "beat", "metrics": "metrics", "serve": "serve",
        "tokens": "tokens", "db": "db", "doctor": "doctor", "reproduce": "reproduce",
    }  # fmt: skip

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.modules)

    sections = {  # noqa: RUF012
        "Audit": ("init", "scan", "scans", "results", "report", "evidence", "zoo"),
        "Make models more robust": ("boost", "adapt", "checkpoints", "trainings"),
        "Run a service": ("worker", "workers", "schedule", "beat", "serve", "tokens", "metrics"),
        "Set up and check": ("doctor", "db"),
        "Research": ("reproduce",),
    }  # fmt: skip

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        width = max(map(len, self.modules))
        for title, names in self.sections.items():
            commands = [(name, self.get_command(ctx, name)) for name in names]
            with formatter.section(title):
                formatter.write_dl([
                    (name.ljust(width), command.get_short_help_str(formatter.width - width - 6))
                    for name, command in commands if command is not None
                ])  # fmt: skip

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self.modules:
            return None
        module, _, name = self.modules[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(f"auditor.cli.{module}"), name or "command")
        return command

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta[_WORDS] = list(args)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        gc.set_threshold(100_000)  # imports create many objects and no garbage
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal that has no ε or ρ shows a question mark
        try:
            _check_words(ctx)
            return super().invoke(ctx)
        except AuditorError as error:
            _end(ctx, f"error: {error}", error.exit_code, error)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # once is enough
            stored = ": finished audits are stored, and the next scan reuses them"
            _end(ctx, f"interrupted{stored if ctx.invoked_subcommand == 'scan' else ''}", ExitCode.INTERRUPTED)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # click exits quietly when the reader of a pipe has closed it
            _end(ctx, f"error: {error}", ExitCode.UNUSABLE, error)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if isinstance(error, UnicodeEncodeError) and any(_is_foreign(word) for word in ctx.meta[_WORDS]):
                got = ", ".join(repr(word[:40]) for word in ctx.meta[_WORDS] if _is_foreign(word))
                _end(ctx, f"error: expected names and options in UTF-8, got {got}", ExitCode.USAGE, error)
            if _from_database(error):
                cause = first_line(getattr(error, "orig", None) or error)
                _end(ctx, f"error: the database failed: {cause}", ExitCode.UNUSABLE, error)
            cause = f"{type(error).__name__}: {first_line(error)}"
            _end(ctx, f"error: unexpected {cause}; run `auditor --debug …` for the traceback", ExitCode.FAILED, error)


_WORDS = "auditor.words"


def _check_words(ctx: click.Context) -> None:
    """Raises UsageError for NUL characters, which neither names of files nor PostgreSQL can have."""
    for word in ctx.meta[_WORDS]:
        if "\0" in word:
            raise UsageError(f"expected options without NUL characters, got {word[:40]!r}")


def _is_foreign(word: str) -> bool:
    """Whether Python could not decode a word. Paths may be like that; the database stores only UTF-8."""
    return any("\ud800" <= letter <= "\udfff" for letter in word)


def _end(ctx: click.Context, message: str, code: ExitCode, error: BaseException | None = None) -> None:
    if error is not None:
        from auditor.logs import show_traceback

        show_traceback(error)
    message = clean_lines(redact_urls(message))
    logs = sys.modules.get("auditor.logs")  # if a command set up JSON logs, the error is one of their lines
    with contextlib.suppress(OSError, AttributeError):
        if logs is None or not logs.log_json(message, logging.ERROR):
            click.echo(message, err=True)
    ctx.exit(code)


def _from_database(error: Exception) -> bool:
    """Whether SQLAlchemy raised the error; SQLAlchemy is not imported for this."""
    errors = sys.modules.get("sqlalchemy.exc")
    return errors is not None and isinstance(error, errors.SQLAlchemyError)


@click.group(
    cls=Commands,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(package_name="auditor")
@click.option("--debug", is_flag=True, help="Print the traceback of every error, including errors of models.")
@click.pass_context
def main(ctx: click.Context, debug: bool) -> None:
    """Audit zoos of image classifiers for adversarial robustness.

    Start with `auditor scan demo`: it needs no data and no service, and takes about a minute. `auditor init` sets
    up an audit of your own model, and `auditor doctor` says what this machine can do. Without a command, `auditor` says
    what to do next.

    \b
    Examples:
      auditor scan demo                            audit the demo zoo and print the leaderboard
      auditor scan demo --protocol standard        audit it with AutoAttack on 1,000 images
      auditor results list --format json           print the stored results as JSON
      auditor results plot --zoo -o zoo.png        plot the gap against robust accuracy

    Exit codes: 0 all work is done; 1 some models failed or were cancelled, and the rest are stored; 2 wrong usage;
    3 the database or a data set is not usable; 4 a gate of a scan was not met; 130 interrupted.
    """
    if debug:
        os.environ["AUDITOR_DEBUG"] = "1"  # for child processes, too
    if ctx.invoked_subcommand is None:
        from auditor.cli.output.first_steps import print_first_steps

        print_first_steps()
