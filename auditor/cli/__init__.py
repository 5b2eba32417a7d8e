"""The command line: one file a noun. Importing this imports click only; heavy rooms come with the command that runs."""

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

from auditor.errors import AuditorError, ExitCode, first_line
from auditor.text.printable import clean_lines
from auditor.text.redaction import redact_urls


class Commands(click.Group):
    """A group that imports a command's module when it is needed, and turns domain errors into one line."""

    modules = {  # noqa: RUF012
        "scan": "scan", "scans": "scans", "zoo": "zoo", "results": "results", "report": "report", "boost": "boost",
        "adapt": "adapt", "checkpoints": "checkpoints", "trainings": "trainings", "worker": "worker",
        "workers": "worker:listing", "schedule": "schedule", "beat": "beat", "metrics": "metrics", "serve": "serve",
        "tokens": "tokens", "db": "db", "doctor": "doctor",
    }  # fmt: skip

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(self.modules)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in self.modules:
            return None
        module, _, name = self.modules[cmd_name].partition(":")
        command: click.Command = getattr(importlib.import_module(f"auditor.cli.{module}"), name or "command")
        return command

    def invoke(self, ctx: click.Context) -> Any:
        gc.set_threshold(100_000)  # imports make many objects and no garbage
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal without ε or ρ shows a question mark
        try:
            return super().invoke(ctx)
        except AuditorError as error:
            _end(ctx, f"error: {error}", error.exit_code, error)
        except KeyboardInterrupt:
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # once is enough
            kept = ": what was finished is stored, the next scan goes on from there"
            _end(ctx, f"interrupted{kept if ctx.invoked_subcommand == 'scan' else ''}", ExitCode.INTERRUPTED)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # click knows what to do when the reader of a pipe has left
            _end(ctx, f"error: {error}", ExitCode.UNUSABLE, error)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:
            if _from_database(error):
                cause = first_line(getattr(error, "orig", None) or error)
                _end(ctx, f"error: the database failed: {cause}", ExitCode.UNUSABLE, error)
            said = f"{type(error).__name__}: {first_line(error)}"
            _end(ctx, f"error: unexpected {said}; `auditor --debug` shows where", ExitCode.FAILED, error)


def _end(ctx: click.Context, message: str, code: ExitCode, error: BaseException | None = None) -> None:
    if error is not None:
        from auditor.logs import show_traceback

        show_traceback(error)
    message = clean_lines(redact_urls(message))
    logs = sys.modules.get("auditor.logs")  # where a command has set them up, and for a machine, this is a line of them
    with contextlib.suppress(OSError, AttributeError):
        if logs is None or not logs.log_json(message, logging.ERROR):
            click.echo(message, err=True)
    ctx.exit(code)


def _from_database(error: Exception) -> bool:
    """Whether SQLAlchemy raised it, without importing SQLAlchemy to ask."""
    errors = sys.modules.get("sqlalchemy.exc")
    return errors is not None and isinstance(error, errors.SQLAlchemyError)


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="auditor")
@click.option("--debug", is_flag=True, help="Errors with their tracebacks, those of models as well.")
def main(debug: bool) -> None:
    """Audit zoos of image classifiers for adversarial robustness.

    \b
    Examples:
      auditor scan demo                            audit the shipped zoo, print the leaderboard
      auditor scan demo --protocol standard        the same with AutoAttack on 1,000 images
      auditor results list --format json           what the database holds
      auditor results plot --zoo -o zoo.png        gap against robust accuracy

    \b
    Exit codes: 0 all done; 1 some models failed or were cancelled, the rest are stored; 2 usage;
    3 the database or a data set is not usable; 4 a gate of a scan was not met; 130 interrupted.
    """
    if debug:
        os.environ["AUDITOR_DEBUG"] = "1"  # for child processes, too
