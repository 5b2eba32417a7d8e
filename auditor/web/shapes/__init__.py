"""What the API answers, for its OpenAPI schema. Answers are not run through these: tests hold them against each other.

Accuracies are fractions from 0 to 1, radii in units of the [0, 1] pixels, times ISO 8601 in UTC, digests SHA-256 in
hexadecimal. What could not be measured is null.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
Next = Annotated[str | None, Field(description="cursor of the page behind; null where this is the last")]


class Shape(BaseModel):
    """An object with these fields and no others."""

    model_config = ConfigDict(extra="forbid")
