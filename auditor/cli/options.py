"""Options that several commands share, their value types, and the parsing of all options into one typed object."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from auditor.cli.choice import Choice
from auditor.cli.number_types import Count
from auditor.records.certificates import CertificateMethod
from auditor.records.corruptions import NAMES as CORRUPTIONS
from auditor.records.norms import NORM_NAMES, TRAINING_NORM_NAMES
from auditor.records.protocols import PROTOCOL_NAMES
from auditor.records.sources import names_repository

if TYPE_CHECKING:
    from auditor.cli.gates import GateOptions
    from auditor.scans.request import ScanRequest

Options = TypeVar("Options")


def parse_options(kind: type[Options], values: dict[str, Any]) -> Options:
    """Build the dataclass ``kind`` from option values; a field that is a dataclass is built from the same values."""
    parsed: dict[str, Any] = {}
    for field in fields(kind):  # type: ignore[arg-type]
        if isinstance(field.type, type) and is_dataclass(field.type):
            parsed[field.name] = parse_options(field.type, values)
        elif field.name in values:
            parsed[field.name] = values[field.name]
    return kind(**parsed)


def parsed_as(kind: type[Options]) -> Callable[[Callable[[Options], None]], Callable[..., None]]:
    """Decorate a command's function so that it takes its options as one object of the dataclass ``kind``."""

    def decorate(command: Callable[[Options], None]) -> Callable[..., None]:
        @functools.wraps(command)
        def callback(**values: Any) -> None:
            command(parse_options(kind, values))

        return callback

    return decorate


class Eps(click.ParamType[float]):
    """An attack radius in [0, 1] pixels: ``0.031`` or ``8/255``."""

    name = "eps"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from auditor.text.eps import parse_eps

        try:
            return parse_eps(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Time(click.ParamType[datetime]):
    """A date, or a date and time; in UTC where no zone is given."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        from auditor.text.times import parse_time

        try:
            return parse_time(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Jobs(click.ParamType[int | None]):
    """The number of models to audit in parallel; ``auto`` becomes None: the machine and the models decide."""

    name = "jobs"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value == "auto":
            return None
        return click.IntRange(1, 64).convert(value, param, ctx)


ROW_ID = click.IntRange(1, 2**31 - 1)
NORM = Choice(TRAINING_NORM_NAMES)
ATTACK_NORM = Choice(NORM_NAMES)
"""Of attacks; trainings take ``NORM``."""
RESULT_NORM = Choice([*NORM_NAMES, *CORRUPTIONS])
"""What a result has in place of a norm, too."""
PROTOCOL = Choice(PROTOCOL_NAMES)

FORMAT = click.option(
    "--format", "output_format", type=Choice(["table", "json"]), default="table", show_default=True,
    help="Print a table for people, or one JSON array on stdout.",
)  # fmt: skip
FIGURE = click.option(
    "--output", "-o", type=click.Path(dir_okay=False, path_type=Path), required=True,
    help="Write this file: .png, .svg or .pdf.",
)  # fmt: skip
SAMPLES = click.option("--samples", type=Count(), metavar="N", help="Use the first N test images, under any protocol.")
SEED = click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Use this seed for every random draw.",
)
DEVICE = click.option("--device", default="cpu", show_default=True, help="Run on this device: cpu, cuda or cuda:N.")
TRUST_CODE = click.option(
    "--trust-code", is_flag=True, help="Run the Python code that defines the architectures of a local zoo."
)
ATTACK = click.option(
    "--attack", "attack_files", multiple=True, metavar="FILE.py:FUNCTION",
    help="Run this function last, on the images that survive all other attacks. Needs --trust-code. May be repeated.",
)  # fmt: skip
TRANSFER_FROM = click.option(
    "--transfer-from", "transfer_models", multiple=True, metavar="SOURCE:MODEL",
    help="Also make adversarials on this model of any zoo, and try them on the audited models. May be repeated.",
)  # fmt: skip
TRANSFER_ZOO = click.option(
    "--transfer-zoo", type=click.Path(path_type=Path), metavar="DIR",
    help="With --transfer-from local:MODEL: look for the model in the local zoo in this folder. By default: DIR.",
)  # fmt: skip
ZOO_FOLDER = click.option(
    "--zoo", "folder", type=click.Path(path_type=Path), help="Look for the model in the local zoo in this folder."
)
QUEUE = click.option(
    "--queue/--here", "queued", default=None,
    help="Send the work to workers, or run it in this process. By default, it is sent to workers if AUDITOR_BROKER_URL "
    "is set.",
)  # fmt: skip
WAIT = click.option("--wait", is_flag=True, help="With --queue: show progress until all the work has ended.")
JOBS = click.option(
    "--jobs", type=Jobs(), metavar="N",
    help="With --here: audit N models in parallel; threads and memory are divided among them. By default (auto), small "
    "models run in parallel as far as cores and memory allow, and other models run one at a time.",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class PlaceOptions:
    """Where a job is to run: ``--queue/--here``, ``--wait`` and ``--jobs``."""

    queued: bool | None
    wait: bool
    jobs: int | None = None


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """How models are to be audited; ``time_limit`` in minutes and ``memory_limit`` in GiB, for each model."""

    protocol: str
    samples: int | None
    seed: int
    data: Path | None
    device: str
    folder: Path | None
    trust_code: bool
    linearization: str = "remove"
    sketch: int | None = None
    triage: float | None = None
    targeted: Literal["superclass"] | None = None
    curve: bool = False
    certify: CertificateMethod | None = None
    sigma: float | None = None
    mixed_precision: bool = False
    time_limit: float | None = None
    memory_limit: float | None = None
    force: bool = False
    attack_files: tuple[str, ...] = ()
    transfer_models: tuple[str, ...] = ()
    transfer_zoo: Path | None = None

    def _zoo_folder(self) -> str | None:
        """The absolute folder of the zoo, or the name of a repository of the hub."""
        if self.folder is None:
            return None
        return str(self.folder if names_repository(self.folder) else self.folder.absolute())

    def make_request(
        self, queue: str, adversarials: Path | None = None, gates: "GateOptions | None" = None
    ) -> "ScanRequest":
        """The options as a request; the device is checked only if the scan runs in this process."""
        from auditor.config import settings
        from auditor.jobs.limits import GIB, Limits
        from auditor.machine.devices import check_device
        from auditor.records import LOCAL_QUEUE, AuditRequest
        from auditor.scans.extra_attacks import find_extra_attacks
        from auditor.scans.request import ScanRequest

        audit = AuditRequest(
            protocol=self.protocol,
            linearization=self.linearization,
            sketch=self.sketch,
            seed=self.seed,
            device=check_device(self.device) if queue == LOCAL_QUEUE else self.device,
            batch_size=settings().batch_size,
            triage=self.triage,
            targeted=self.targeted,
            curve=self.curve,
            certify=self.certify,
            sigma=self.sigma,
            mixed_precision=self.mixed_precision,
            measure_batch=settings().measure_batch,
            stop_at=None if gates is None else gates.stop_at,
            stop_on_regression=gates is not None and gates.stop_on_regression,
            extra_attacks=find_extra_attacks(
                self.attack_files,
                self.transfer_models,
                folder=self.folder,
                transfer_zoo=self.transfer_zoo,
                trust_code=self.trust_code,
            ),
        )
        return ScanRequest.make(
            audit,
            samples=self.samples,
            data=self.data and self.data.absolute(),
            adversarials=adversarials,
            folder=self._zoo_folder(),
            trust_code=self.trust_code,
            seconds=Limits.of(self.protocol, self.time_limit, self.memory_limit).seconds,
            memory=None if self.memory_limit is None else int(self.memory_limit * GIB),
            force=self.force,
        )


def check_exists(option: str, path: Path | None) -> None:
    """Raises UsageError if the path that an option names does not exist on this machine."""
    from auditor.errors import UsageError

    if path is not None and not path.exists():
        raise UsageError(f"{option}: no such file or folder: {path}")
