"""``auditor init``: ask where a model and its test images are, write the zoo.toml, and try the model."""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from auditor.cli.number_types import Count
from auditor.cli.options import NORM, TRUST_CODE
from auditor.text.numbers import counted

if TYPE_CHECKING:
    from auditor.cli.init.answers import Answers
    from auditor.zoo.local.draft import Draft


@dataclass(frozen=True, kw_only=True)
class InitOptions:
    """The options of ``auditor init`` as they were given; None for what is asked, or has a default."""

    folder: Path | None
    weights: str | None
    architecture: str | None
    arguments: tuple[str, ...]
    data: str | None
    classes: str | None
    superclasses: str | None
    input_size: str | None
    normalize: str | None
    name: str | None
    norm: str | None
    eps: str | None
    trust_code: bool
    force: bool
    try_model: bool
    samples: int

    @property
    def is_complete(self) -> bool:
        """Whether nothing has to be asked: everything else has a default."""
        return None not in (self.weights, self.architecture, self.data)


@click.command("init")
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--weights",
    metavar="FILE",
    help="Read the weights from this file inside DIR: safetensors, torch.save or TorchScript.",
)
@click.option(
    "--architecture", metavar="NAME",
    help="Build this network: a name of timm or torchvision such as resnet18, or FILE.py:CLASS inside DIR. "
    "timm:NAME and torchvision:NAME select one of the two.",
)  # fmt: skip
@click.option(
    "--argument", "arguments", multiple=True, metavar="NAME=VALUE",
    help="Pass an argument to the network's class or function, such as width=64. Repeatable.",
)  # fmt: skip
@click.option(
    "--data", metavar="PATH|NAME",
    help="Use these test images: an image folder, an .npz file, idx files, or the name of a data set that "
    "auditor knows, such as cifar10.",
)  # fmt: skip
@click.option(
    "--classes", metavar="NAMES",
    help="Name the classes in the order of the logits, separated by commas, or by a file with one name per line, "
    "or the name of a known data set. By default: the names of the class folders, or numbers.",
)  # fmt: skip
@click.option(
    "--superclasses", metavar="GROUPS",
    help="Group similar classes for the clustering scores: 'dogs=beagle,pug; cats=siamese,persian'.",
)  # fmt: skip
@click.option("--input-size", metavar="CxHxW", help="Give the network images of this size, such as 3x224x224.")
@click.option(
    "--normalize", metavar="HOW",
    help="Normalize the network's input like this: none, imagenet, cifar10, cifar100, mnist, fashion_mnist, timm, or "
    "MEANS/STDS such as 0.5,0.5,0.5/0.2,0.2,0.2.",
)  # fmt: skip
@click.option("--name", help="Name the model. By default, it is named after the file of weights.")
@click.option("--norm", type=NORM, help="Attack in this norm. By default: Linf.")
@click.option("--eps", help="Attack within this radius, in pixels from 0 to 1. By default: 8/255 for Linf, 0.5 for L2.")
@TRUST_CODE
@click.option("--force", is_flag=True, help="Overwrite an existing zoo.toml.")
@click.option(
    "--try/--no-try", "try_model", default=True, help="Audit the model on a few images at the end, or do not."
)
@click.option("--samples", type=Count(), default=20, show_default=True, metavar="N", help="Try the model on N images.")
def command(**options: Any) -> None:
    """Set up an audit of your own model: write DIR/zoo.toml, try the model, and print the next command.

    On a terminal, the command asks for everything that no option gives, says what it expects, and asks again if an
    answer is wrong. It asks nothing if --weights, --architecture and --data are given, or without a terminal. Nothing
    is written before the last answer. docs/tutorial.md shows the way from a checkpoint to a first audit.

    Python code in DIR runs only with --trust-code, or after a yes.

    \b
    Examples:
      auditor init
      auditor init my-models
      auditor init my-models --weights net.pt --architecture network.py:Net --data test.npz --trust-code
      auditor init my-models --weights pets.safetensors --architecture timm:resnet18 --data pets/test
      auditor init my-models --weights c10.pth --architecture torchvision:resnet18 --data cifar10 --normalize cifar10

    Exit codes: 0 the zoo file is written and the model could be tried; 1 the model could not be tried; 2 wrong usage.
    """
    from auditor.cli.init.answers import Answers, make_draft
    from auditor.errors import AuditorError

    given = InitOptions(**options)
    is_asking = not given.is_complete and is_interactive()
    try:
        answers = Answers(given, is_asking)
        draft = make_draft(answers)
    except click.Abort as abort:
        raise KeyboardInterrupt from abort
    trusted = given.trust_code
    if draft.architecture.runs_code and given.try_model and not trusted and is_asking:
        with _interrupts():
            question = f"Trying the model runs the code in {_code_of(draft)}. Run it?"
            trusted = click.confirm(question, default=False)
    paths = _write(answers, draft)
    for path in paths:
        click.echo(f"wrote {path}")
    words = [
        "auditor",
        "scan",
        "local",
        str(answers.folder),
        *(["--trust-code"] if draft.architecture.runs_code else []),
    ]
    if not given.try_model or (draft.architecture.runs_code and not trusted):
        if given.try_model:
            click.echo(f"The model was not tried, because this runs the code in {_code_of(draft)}: add --trust-code.")
        _print_next(answers, draft, words)
        return
    if not _try_model(answers, draft, trusted):
        raise AuditorError(
            f"the model could not be tried; correct {answers.file} by the reason above, then run "
            f"`{_join([*words, '--samples', str(given.samples)])}`"
        )
    _print_next(answers, draft, words)


def is_interactive() -> bool:
    """Whether there is somebody to ask."""
    return sys.stdin is not None and sys.stdin.isatty() and sys.stdout is not None and sys.stdout.isatty()


@contextlib.contextmanager
def _interrupts() -> Iterator[None]:
    """Ctrl-C at a question ends the command as it does anywhere else."""
    try:
        yield
    except click.Abort as abort:
        raise KeyboardInterrupt from abort


def _write(answers: "Answers", draft: "Draft") -> list[Path]:
    """Write the files that the zoo needs; zoo.toml last, so that no half of a zoo is left."""
    from auditor.errors import UsageError
    from auditor.files import write_atomically
    from auditor.zoo.local.draft import write_toml

    try:
        written = answers.write_files(draft)
        with write_atomically(answers.file) as file:
            file.write(write_toml(draft).encode())
    except OSError as error:
        raise UsageError(f"cannot write into {answers.folder}: {error.strerror or error}") from error
    return [*written, answers.file]


def _try_model(answers: "Answers", draft: "Draft", trusted: bool) -> bool:
    """Audit the model on a few images; whether that worked."""
    from auditor.cli.scan import command as scan
    from auditor.zoo.local import LocalZoo

    LocalZoo(answers.folder).entries()  # reports mistakes, which would be those of this command
    images = min(answers.options.samples, answers.image_count or answers.options.samples)
    click.echo(f"\nTrying local:{draft.name} on {counted(images, 'image')}:\n")
    context = click.get_current_context()
    try:
        context.invoke(
            scan, source="local", folder=answers.folder, models=(draft.name,), samples=images,
            trust_code=trusted, queued=False, protocol="quick",
        )  # fmt: skip
    except click.exceptions.Exit as end:
        return end.exit_code == 0
    return True


def _print_next(answers: "Answers", draft: "Draft", words: list[str]) -> None:
    def count(sample: int) -> str:
        fewer = answers.image_count is not None and answers.image_count < sample
        return f"all {answers.image_count}" if fewer else f"{sample:,}"

    lines = {
        _join(words): f"attack it with PGD on {count(256)} images",
        _join([*words, "--protocol", "standard"]): f"attack it with AutoAttack on {count(1000)} images",
        f"auditor results show local:{draft.name}": "show everything about its last result",
        "auditor serve": "look at the results in a browser",
    }
    width = max(map(len, lines))
    click.echo("\nNext:")
    for line, purpose in lines.items():
        click.echo(f"  {line:<{width}}  # {purpose}")


def _join(words: list[str]) -> str:
    import shlex

    return shlex.join(words)


def _code_of(draft: "Draft") -> str:
    from auditor.zoo.local.draft import TORCHVISION_FILE

    return TORCHVISION_FILE if draft.architecture.kind == "torchvision" else draft.architecture.name.rpartition(":")[0]
