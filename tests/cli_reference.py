"""docs/cli.md from ``--help``: ``make docs`` writes it, a test compares it."""

import copy

import click

from auditor.cli import main

HEAD = "# Command line\n\nGenerated from `--help` by `make docs`.\n"


def reference() -> str:
    parts = [HEAD]

    def describe(command: click.Command, path: str, parent: click.Context | None) -> None:
        command = copy.copy(command)
        command._help_option = None  # click keeps the one of the first context, which may be a test's
        settings = command.context_settings | {"max_content_width": 110, "terminal_width": 110}
        context = click.Context(command, info_name=path.rpartition(" ")[2], parent=parent, **settings)
        parts.append(f"\n## {path}\n\n```\n{command.get_help(context)}\n```\n")
        if isinstance(command, click.Group):
            for name in command.list_commands(context):
                describe(command.get_command(context, name), f"{path} {name}", context)

    describe(main, "auditor", None)
    return "".join(parts)


if __name__ == "__main__":
    click.echo(reference(), nl=False)
