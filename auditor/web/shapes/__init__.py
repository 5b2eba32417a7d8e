"""The shapes of the API's responses, for its OpenAPI schema. Responses are not validated at run time; tests do that.

Accuracies are fractions from 0 to 1, radii in units of the [0, 1] pixels, times ISO 8601 in UTC, digests SHA-256 in
hexadecimal. A value that could not be measured is null.
"""

from collections.abc import Collection
from dataclasses import fields
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, create_model

Share = Annotated[float, Field(ge=0, le=1)]
Next = Annotated[str | None, Field(description="The cursor of the next page; null on the last page.")]


class Shape(BaseModel):
    """Base of all shapes: an object without other fields."""

    model_config = ConfigDict(extra="forbid")


def shape_of(record: type, *, omit: Collection[str] = (), **narrower: Any) -> type[Shape]:
    """The shape of a record, to derive from.

    ``omit``: fields that responses do not have; ``narrower``: types of fields that only the schema states.
    """
    types = {one.name: (narrower.get(one.name, one.type), ...) for one in fields(record) if one.name not in omit}
    shape: type[Shape] = create_model(record.__name__, __base__=Shape, **types)  # type: ignore[call-overload]
    return shape
