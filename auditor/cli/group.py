"""Groups of commands: a misspelt name gets a suggestion."""

import click

from auditor.text.similar import similar_names


class Group(click.Group):
    """A group that suggests the most similar command for an unknown name."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        similar = similar_names(name, self.list_commands(ctx), 1)
        if self.get_command(ctx, name) is None and not ctx.resilient_parsing and similar:
            ctx.fail(f"No such command {name!r}. Did you mean {similar[0]!r}?")
        return super().resolve_command(ctx, args)
