"""``auditor zoo init``: the beginning of a local zoo."""

from pathlib import Path

import click


@click.command("init")
@click.argument("folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
def init(folder: Path) -> None:
    """Make a folder with an example zoo.toml to fill in; an existing one is left alone.

    \b
    Example:
      auditor zoo init my-models
    """
    from auditor.errors import UsageError
    from auditor.zoo.local import EXAMPLE, FILE

    file = folder / FILE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with file.open("xb") as example:
            example.write(EXAMPLE.read_bytes())
    except FileExistsError as error:
        raise UsageError(f"{file} is there already, and stays as it is") from error
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from error
    click.echo(f"{file}: fill in your files' names, then `auditor zoo list local {folder}` checks it")
