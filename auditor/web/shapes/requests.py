"""Bodies of HTTP requests: the options of the commands, without paths and without the code of local zoos."""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    field_validator,
)
from pydantic_core.core_schema import CoreSchema, no_info_after_validator_function

from auditor.db.tokens import DAYS, NAME
from auditor.records.boosts import BOOST_PROTOCOL, TRAINING_SECONDS, RecipeOptions
from auditor.records.certificates import CertificateMethod
from auditor.records.norms import NormName, TrainingNormName
from auditor.records.protocols import AttackingProtocolName, ProtocolName
from auditor.records.sources import REMOTE_SOURCE_NAMES, RemoteSourceName
from auditor.text.printable import check_storable, clean_line


@dataclass(frozen=True)
class Like:
    """Metadata of a text field: the whole text must match a pattern; errors say ``words`` instead of the pattern."""

    pattern: str
    words: str

    def check(self, text: str) -> str:
        """Return the text. Raises ValueError if it does not match."""
        if not re.fullmatch(self.pattern, text):
            raise ValueError(f"expected {self.words}, got {clean_line(text[:60])!r}")
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return no_info_after_validator_function(self.check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return handler(schema) | {"pattern": f"^{self.pattern}$"}


NAME_WORDS = "letters, digits, dots, dashes and underscores, first a letter or digit"
Word = Annotated[str, Field(max_length=200), AfterValidator(check_storable)]
Device = Annotated[str, Like(r"cpu|cuda(:[0-9]{1,3})?", "cpu, cuda or cuda:N")]
*_OTHERS, _LAST = REMOTE_SOURCE_NAMES
ModelName = Annotated[
    Word,
    Like(rf"({'|'.join(REMOTE_SOURCE_NAMES)}):.+", f"{':, '.join(_OTHERS)}: or {_LAST}: with a name"),
]
Samples = Annotated[int, Field(ge=1, le=10_000_000)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Radius = Annotated[float, Field(gt=0, le=1000, description="The radius in units of the [0, 1] pixels.")]


class ScanBody(BaseModel):
    """The options of `auditor scan`, with the same defaults."""

    model_config = ConfigDict(extra="forbid")

    source: RemoteSourceName
    models: Annotated[list[Word], Field(max_length=200)] = []
    match: Word | None = None
    dataset: Word | None = None
    threat_model: Word | None = None
    pretrained_only: bool = False
    limit: Annotated[int, Field(ge=1, le=10_000)] | None = None
    protocol: ProtocolName = "quick"
    samples: Samples | None = None
    norm: NormName | None = None
    eps: Radius | None = None
    linearization: Literal["remove", "fold"] = "remove"
    sketch: Annotated[int, Field(ge=8, le=65_536)] | None = None
    triage: Annotated[float, Field(ge=0, le=1)] | None = None
    targeted: Literal["superclass"] | None = None
    curve: bool = False
    stop_at: Annotated[
        float | None,
        Field(
            gt=0,
            lt=1,
            description="Stop each audit once it is decided whether its robust accuracy is above or below this.",
        ),
    ] = None
    certify: CertificateMethod | None = None
    sigma: Annotated[float, Field(gt=0, le=1000)] | None = None
    mixed_precision: bool = False
    seed: Seed = 0
    device: Device = "cpu"
    force: bool = False

    def to_command(self) -> list[str]:
        """Return the arguments of ``auditor`` that start the same scan, for schedules, which never stop early."""
        words = ["scan", self.source]
        for name, value in self.model_dump(exclude={"source", "stop_at"}, exclude_defaults=True).items():
            option = "--model" if name == "models" else f"--{name.replace('_', '-')}"
            if value is True:
                words.append(option)
            else:
                words += [f"{option}={one}" for one in (value if isinstance(value, list) else [value])]
        return words


class BoostBody(BaseModel):
    """The options of `auditor boost`, with the same defaults."""

    model_config = ConfigDict(extra="forbid")

    model: ModelName
    method: Literal["at", "trades"] = RecipeOptions.method
    regularizer: Literal["logits", "linear", "none"] = RecipeOptions.regularizer
    beta: Annotated[float, Field(ge=0, le=1e6)] = RecipeOptions.beta
    epochs: Annotated[int, Field(ge=1, le=100_000)] = RecipeOptions.epochs
    eps: Radius | None = None
    norm: TrainingNormName | None = None
    steps: Annotated[int, Field(ge=1, le=1000)] = RecipeOptions.steps
    step_size: Radius | None = None
    lr: Annotated[float, Field(gt=0, le=1e6)] = RecipeOptions.lr
    batch_size: Annotated[int, Field(ge=2, le=65_536)] = RecipeOptions.batch_size
    weight_decay: Annotated[float, Field(ge=0, le=1)] = RecipeOptions.weight_decay
    ema: Annotated[float, Field(ge=0, lt=1)] = RecipeOptions.ema
    amp: bool = RecipeOptions.amp
    seed: Seed = 0
    protocol: AttackingProtocolName = BOOST_PROTOCOL
    samples: Samples | None = None
    device: Device = "cpu"
    time_limit: Annotated[
        float, Field(gt=0, le=20_160, description="The longest duration of the training, in minutes.")
    ] = TRAINING_SECONDS / 60


class ScheduleBody(BaseModel):
    """The options of `auditor schedule add`: a cron expression in UTC, and the scan to run."""

    model_config = ConfigDict(extra="forbid")

    cron: Annotated[Word, Field(max_length=100, examples=["0 2 * * *"])]
    scan: ScanBody
    enabled: bool = True

    @field_validator("scan")
    @classmethod
    def _check_scan(cls, scan: ScanBody) -> ScanBody:
        if scan.stop_at is not None:
            raise ValueError("stop_at cannot be scheduled: nights are compared on the same images; leave it out")
        return scan


class TokenBody(BaseModel):
    """The options of `auditor tokens add`."""

    model_config = ConfigDict(extra="forbid")

    name: Annotated[str, Like(NAME.pattern, f"up to 64 {NAME_WORDS}")]
    scope: Literal["read", "scan", "boost", "admin"]
    days: Annotated[float, Field(gt=0, le=DAYS, allow_inf_nan=False)] | None = None
