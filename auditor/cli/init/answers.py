"""The answers that ``auditor init`` needs: from options, else from questions, else from defaults."""

import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import click

from auditor.cli.init import InitOptions
from auditor.cli.init.parsing import (
    MOST_LISTED,
    NORMALIZATIONS,
    UNNAMED,
    Size,
    choice,
    has_torchvision,
    listed,
    name_of,
    parse_architecture,
    parse_arguments,
    parse_classes,
    parse_data,
    parse_groups,
    parse_name,
    parse_norm,
    parse_normalization,
    parse_radius,
    parse_size,
    parse_weights,
)
from auditor.data.known import CLASSES
from auditor.data.recognize import FoundData, write_npz
from auditor.errors import AuditorError, ModelLoadError, UsageError, first_line
from auditor.files import write_atomically
from auditor.zoo.local import FILE
from auditor.zoo.local.datasets import SIZES, known_dataset
from auditor.zoo.local.draft import (
    TORCHVISION_CODE,
    TORCHVISION_FILE,
    Architecture,
    Channels,
    Draft,
    OwnData,
    find_networks,
    find_weights,
    is_torchscript,
)

Value = TypeVar("Value")


def ask(question: str, parse: Callable[[str], Value], *, default: str | None = None, help: str = "") -> Value:
    """Ask until the answer can be parsed; the reason stands before the question is asked again."""
    if help:
        click.echo(f"\n{help}")
    while True:
        answer = click.prompt(question, default=default, show_default=bool(default))
        try:
            return parse(answer.strip())
        except (AuditorError, ValueError) as error:
            click.echo(f"  {error}")


@dataclass
class Answers:
    """One run of ``auditor init``: its options, whether it asks, and what it has found so far.

    ``content``: the tensors in the file of weights; ``data``: the test images, or the name of a known data set.
    """

    options: InitOptions
    is_asking: bool
    content: Any = None
    data: str | FoundData = ""
    converts: bool = False

    def __post_init__(self) -> None:
        self.folder = self.find(
            "folder", "Folder", Path, default=".", help="The folder of your model. zoo.toml is written into it."
        ).expanduser()
        if self.file.exists() and not self.options.force:
            raise UsageError(
                f"{self.file} exists and was not changed; add --force to overwrite it, or name another folder"
            )
        missing = [f"--{name}" for name in ("weights", "architecture", "data") if getattr(self.options, name) is None]
        if missing and not self.is_asking:
            raise UsageError(f"there is no terminal to ask on: add {', '.join(missing)}")
        if not self.folder.is_dir():
            raise UsageError(f"{self.folder} is no folder: make it, and put the file of weights into it")

    @property
    def file(self) -> Path:
        return self.folder / FILE

    @property
    def image_count(self) -> int | None:
        return self.data.count if isinstance(self.data, FoundData) else None

    @property
    def picture_size(self) -> Size | None:
        """The size of the images; None if they may differ."""
        return self.data.size if isinstance(self.data, FoundData) else SIZES.get(self.data)

    def find(
        self, option: str, question: str, parse: Callable[[str], Value], *, default: str | None = None, help: str
    ) -> Value:
        """The parsed value of an option, of an answer, or of the default.

        Raises:
            UsageError: the option's value is wrong.
        """
        given = getattr(self.options, option)
        if given is None and self.is_asking:
            return ask(question, parse, default=default, help=help)
        try:
            return parse(str(default or "" if given is None else given))
        except ValueError as error:
            raise UsageError(f"--{option.replace('_', '-')}: {error}") from error

    def write_files(self, draft: Draft) -> list[Path]:
        """Write what zoo.toml refers to and is not there yet, and return the paths.

        That is the code for torchvision, the weights of a TorchScript program, and idx files as .npz.
        """
        written = []
        if draft.architecture.kind == "torchvision":
            written.append(self.folder / TORCHVISION_FILE)
            with write_atomically(written[-1]) as file:
                file.write(TORCHVISION_CODE.encode())
        if self.converts:
            from safetensors.torch import save

            written.append(self.folder / draft.weights)
            with write_atomically(written[-1]) as file:
                file.write(save({name: tensor.clone().contiguous() for name, tensor in self.content.items()}))
        if isinstance(self.data, FoundData) and self.data.arrays is not None and isinstance(draft.dataset, OwnData):
            written.append(self.folder / draft.dataset.path)
            write_npz(self.data, written[-1])
        return written


def make_draft(answers: Answers) -> Draft:
    """Ask, or take from options and defaults, everything that a zoo.toml says.

    Raises:
        UsageError: an option is wrong.
        DataError, ModelLoadError: the same, about data and weights.
    """
    weights = _find_weights(answers)
    answers.data = answers.find(
        "data", "Test images", lambda text: parse_data(text, answers.folder),
        help="Test images of the classes that the model was trained on: the path of a folder with one folder of "
        "pictures per class,\nof an .npz file of images and labels, or of idx files; or one of the data sets "
        f"{', '.join(CLASSES)}.",
    )  # fmt: skip
    dataset = _find_dataset(answers)
    architecture = _find_architecture(answers, weights, dataset)
    size = _find_size(answers, architecture)
    mean, std = _find_normalization(answers, architecture, size or answers.picture_size)
    norm = answers.find("norm", "Norm", parse_norm, default="Linf", help="The norm of the attacks: Linf or L2.")
    eps = answers.find(
        "eps", "Radius", parse_radius, default="8/255" if norm == "Linf" else "0.5",
        help="How far an attack may change an image, in pixels from 0 to 1, such as 8/255 or 0.1.",
    )  # fmt: skip
    name = answers.find(
        "name", "Name", parse_name, default=name_of(weights), help="The name of the model in lists of results."
    )
    return Draft(
        name=name, weights=weights, architecture=architecture, dataset=dataset, input_size=size, mean=mean, std=std,
        norm=norm, eps=eps,
    )  # fmt: skip


def _find_weights(answers: Answers) -> str:
    """The file of weights, whose tensors are read; weights of a TorchScript program go into a file of their own."""
    folder, names = answers.folder, find_weights(answers.folder)

    def parse(text: str) -> str:
        weights = parse_weights(folder, choice(text, names))
        path = folder / weights
        if not is_torchscript(path):
            from auditor.zoo.weights import read_content

            answers.content, answers.converts = read_content(path), False
            return weights
        question = f"{path.name} is a TorchScript program. Let torch load it, and write its weights to a file?"
        if not (answers.options.trust_code or (answers.is_asking and click.confirm(question))):
            raise ValueError(
                f"{path.name} is a TorchScript program: torch runs it to read its weights, if --trust-code allows"
            )
        answers.content, answers.converts = read_torchscript(path), True
        return path.with_name(f"{path.stem}-weights.safetensors").relative_to(folder).as_posix()

    return answers.find(
        "weights", "Weights", parse, default=names[0] if len(names) == 1 else None,
        help=listed("The file of your model's weights, inside this folder.", names),
    )  # fmt: skip


def read_torchscript(path: Path) -> dict[str, Any]:
    """The state dict of a TorchScript program, which torch loads.

    Raises:
        ModelLoadError: torch cannot load it.
    """
    import torch

    try:
        with warnings.catch_warnings(action="ignore"):  # TorchScript is deprecated
            return dict(torch.jit.load(str(path), map_location="cpu").state_dict())  # type: ignore[no-untyped-call]
    except (RuntimeError, ValueError, OSError) as error:
        raise ModelLoadError(f"torch cannot load the TorchScript program {path.name}: {first_line(error)}") from error


def _find_architecture(answers: Answers, weights: str, dataset: str | OwnData) -> Architecture:
    """The network. One of timm or torchvision has to fit the weights; Python code runs when the model is tried."""
    networks = find_networks(answers.folder)
    classes = len(CLASSES[dataset] if isinstance(dataset, str) else dataset.classes)
    size = answers.picture_size
    if answers.options.input_size is not None:
        size = answers.find("input_size", "", parse_size, help="")
    arguments = parse_arguments(answers.options.arguments)

    def parse(text: str) -> Architecture:
        chosen = parse_architecture(answers.folder, choice(text, networks))
        if chosen.kind == "python":
            return replace(chosen, arguments=arguments)
        candidates = [chosen]
        if chosen.kind == "timm" and ":" not in text and has_torchvision(chosen.name):
            candidates.append(Architecture("torchvision", chosen.name))
        filled = [_with_arguments(one, arguments, classes) for one in candidates]
        return _fit(answers.content, weights, filled, classes, 3 if size is None else size[0])

    found = answers.find(
        "architecture", "Network", parse, default=networks[0] if len(networks) == 1 else None,
        help=listed("The network: a name of timm or torchvision, such as resnet18, or FILE.py:CLASS in this folder.",
                     networks),
    )  # fmt: skip
    if found.kind == "python" and answers.is_asking and not arguments:
        arguments = ask(
            "Arguments", lambda text: parse_arguments(tuple(text.split())), default="",
            help=f"Arguments that {found.name} is called with, such as: width=64 depth=3. Enter for none.",
        )  # fmt: skip
        return replace(found, arguments=arguments)
    return found


def _find_dataset(answers: Answers) -> str | OwnData:
    """Return the name of a data set that auditor knows, or the description of another one."""
    data, options = answers.data, answers.options
    if isinstance(data, str):
        known_dataset(data)
        return data
    classes = data.classes
    if options.classes is not None or (answers.is_asking and data.layout != "image folder"):
        classes = answers.find(
            "classes", "Classes", lambda text: parse_classes(text, data),
            default=",".join(classes) if len(classes) <= MOST_LISTED + 1 else "numbers",
            help=f"The names of the {len(data.classes)} classes in the order of the logits, separated by commas; or a "
            "file with one name per line.",
        )  # fmt: skip
    groups = answers.find(
        "superclasses", "Superclasses", lambda text: parse_groups(text, classes), default="",
        help="Groups of similar classes, by which auditor measures how strongly the network's classes cluster, such as"
        f"\n  group={','.join(classes[:2])}; others={','.join(classes[2:4]) or '…'}\nEnter for none: there are no "
        "clustering scores then.",
    )  # fmt: skip
    path = data.path.resolve()
    stem = answers.folder.resolve().name if path.stem in UNNAMED else path.stem
    name = re.sub(r"[^\w.-]+", "-", stem).strip("-.") or "images"
    if data.arrays is not None:
        return OwnData(name, f"{name}-test.npz", classes, groups)
    inside = path.is_relative_to(answers.folder.resolve())
    place = path.relative_to(answers.folder.resolve()) if inside else path
    return OwnData(name, place.as_posix(), classes, groups)


def _find_size(answers: Answers, architecture: Architecture) -> Size | None:
    """The input size for zoo.toml; None where the data set, or timm, knows it."""
    known = answers.picture_size
    if answers.options.input_size is None:
        if known is not None:
            return None if isinstance(answers.data, str) else known
        if architecture.kind == "timm":
            return None
    return answers.find(
        "input_size", "Input size", parse_size, default="3x224x224",
        help="The size of the network's input as CHANNELSxHEIGHTxWIDTH. Pictures are resized and cropped to it.",
    )  # fmt: skip


def _with_arguments(architecture: Architecture, arguments: dict[str, Any], classes: int) -> Architecture:
    """With the number of classes for torchvision; for timm, auditor adds it when it loads the model."""
    number = {"num_classes": classes} if architecture.kind == "torchvision" else {}
    return replace(architecture, arguments={**number, **arguments})


def _fit(content: Any, weights: str, candidates: list[Architecture], classes: int, channels: int) -> Architecture:
    """The first network whose names and shapes the weights have.

    Raises:
        ModelLoadError: the weights fit none of them.
    """
    from auditor.zoo.weights import fill

    errors: list[Exception] = []
    for candidate in candidates:
        try:
            fill(_construct(candidate, classes, channels), content, Path(weights).name)
        except (AuditorError, ValueError, TypeError, RuntimeError) as error:
            errors.append(error)
        else:
            return candidate
    first = candidates[0]
    raise ModelLoadError(
        f"the weights do not fit {first.name} of {' or '.join(one.kind for one in candidates)} with {classes} classes: "
        f"{first_line(errors[0])}"
    ) from errors[0]


def _construct(architecture: Architecture, classes: int, channels: int) -> Any:
    if architecture.kind == "timm":
        from auditor.zoo.local import timm_models

        arguments = {"num_classes": classes, "in_chans": channels, **architecture.arguments}
        return timm_models.create(architecture.name, arguments)
    import torchvision

    return torchvision.models.get_model(architecture.name, weights=None, **architecture.arguments)


def _find_normalization(
    answers: Answers, architecture: Architecture, size: Size | None
) -> tuple[Channels | None, Channels | None]:
    is_timm = architecture.kind == "timm"
    channels = size[0] if size is not None else 3
    names = [name for name, (mean, _) in NORMALIZATIONS.items() if len(mean) in (0, channels)]

    def parse(text: str) -> tuple[Channels | None, Channels | None]:
        if text == "timm":
            if not is_timm:
                raise ValueError("timm's values are known for networks of timm alone")
            return None, None
        return parse_normalization(text, channels)

    return answers.find(
        "normalize", "Normalization", parse, default="timm" if is_timm and channels == 3 else "none",
        help="How the training normalized images, for pixels from 0 to 1. A wrong answer makes every number wrong.\n"
        f"Answer with {', '.join([*names, *(['timm'] if is_timm else [])])}, or with MEANS/STDS such as "
        f"{'0.5/0.5' if channels == 1 else '0.5,0.5,0.5/0.2,0.2,0.2'}.",
    )  # fmt: skip
