"""What may be asked of the server over HTTP."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Word = Annotated[str, Field(max_length=200)]


class ScanAsked(BaseModel):
    """What ``auditor scan`` takes, without all that names a place on a machine: no folders, no code of local zoos."""

    model_config = ConfigDict(extra="forbid")

    source: Literal["demo", "timm", "robustbench", "checkpoint"]
    models: Annotated[list[Word], Field(max_length=200)] = []
    match: Word | None = None
    dataset: Word | None = None
    threat_model: Word | None = None
    pretrained_only: bool = False
    limit: Annotated[int, Field(ge=1, le=10_000)] | None = None
    protocol: Literal["screen", "quick", "standard", "full"] = "quick"
    samples: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    norm: Literal["Linf", "L2"] | None = None
    eps: Annotated[float, Field(gt=0, le=1000, description="in units of the [0, 1] pixels")] | None = None
    linearization: Literal["remove", "fold"] = "remove"
    sketch: Annotated[int, Field(ge=8, le=65_536)] | None = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] = 0
    device: Annotated[str, Field(pattern=r"^(cpu|cuda(:[0-9]{1,3})?)$")] = "cpu"
    force: bool = False
