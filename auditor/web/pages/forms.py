"""Forms: what was typed survives a missing token, by way of the sign-in page, and a typo, whose field says so."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, TypeVar
from urllib.parse import quote, urlencode

from fastapi import Depends, Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException

from auditor.db.tokens import Bearer
from auditor.errors import AuditorError, NotFoundError, UsageError, one_line
from auditor.text.printable import check_storable
from auditor.text.validation import describe_error
from auditor.web.security.access import LONGEST_ADDRESS, authenticate, sign_in_address

MOST_FIELDS, LONGEST_VALUE = 50, 2000
LONGEST_FIELD = 50_000
"""Of a form that was sent; the shapes say at each field how long it may be. An address fills shorter values only."""
SECRETS = ("token", "password", "secret")
"""Fields that never travel in an address."""
Body = TypeVar("Body", bound=BaseModel)


@dataclass(frozen=True)
class FormState:
    """What a form shows: the typed values, the errors of fields by name, and a message about the whole form."""

    values: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    message: str | None = None

    @classmethod
    def from_query(cls, request: Request) -> "FormState":
        """Fill the form of a page from its address, as after signing in."""
        return cls({name: value for name, value in request.query_params.items() if len(value) <= LONGEST_VALUE})

    @classmethod
    def from_error(cls, fields: Mapping[str, str], error: AuditorError, *, names: str = "") -> "FormState":
        """Return a sent form with its error.

        Args:
            fields: what was sent.
            error: of :func:`parse_form`, or of what the form starts.
            names: the field that names models or other objects; an error about an unknown one stands there.
        """
        if isinstance(error, InvalidFormError):
            return cls(fields, error.errors)
        if names and isinstance(error.__cause__ or error, NotFoundError):
            return cls(fields, {names: one_line(str(error))})
        return cls(fields, message=one_line(str(error)))


class InvalidFormError(UsageError):
    """A form with invalid fields; ``errors`` has a sentence for each."""

    def __init__(self, errors: Mapping[str, str]) -> None:
        super().__init__("; ".join(f"{name}: {text}" for name, text in errors.items()))
        self.errors = dict(errors)


async def read_fields(request: Request) -> dict[str, str]:
    """Read the text fields of a form; a name that is sent several times becomes one value with commas.

    Raises:
        UsageError: a field is longer than any field of a form, or has characters that no database stores.
    """
    try:
        form: FormData = await request.form(max_files=0, max_fields=MOST_FIELDS)
    except HTTPException:
        raise
    except Exception as error:  # an unknown charset, or bytes that it cannot decode
        raise HTTPException(400, "expected a form in UTF-8") from error
    fields: dict[str, str] = {}
    for name, value in form.multi_items():
        text = value if isinstance(value, str) else ""
        if len(text) > LONGEST_FIELD:
            raise UsageError(f"{name[:50]}: expected at most {LONGEST_FIELD} characters, got {len(text)}")
        try:
            check_storable(name)
            fields[name] = f"{fields[name]},{check_storable(text)}" if name in fields else check_storable(text)
        except ValueError as error:
            raise UsageError(str(error)) from error
    return fields


Fields = Annotated[dict[str, str], Depends(read_fields)]


def require_sign_in(scope: str, page: str) -> Callable[..., Bearer]:
    """Make the dependency of a form's route: without a token of this scope, the browser goes to the sign-in page.

    Args:
        scope: what the form needs.
        page: the address of the form's page, such as ``/scans/{number}``; signing in leads back to it, filled.
    """

    def check_sign_in(
        request: Request, owner: Annotated[Bearer | None, Depends(authenticate)], fields: Fields
    ) -> Bearer:
        if owner is not None and owner.may(scope):
            return owner
        back = filled_address(page.format_map(request.path_params), fields)
        raise HTTPException(
            303, f"sign in with a token of the scope {scope}", {"Location": sign_in_address(back, scope)}
        )

    return check_sign_in


def filled_address(page: str, fields: Mapping[str, str]) -> str:
    """Return the address of a page that fills its form; secrets, and what makes it too long, are left out."""
    kept: dict[str, str] = {}
    for name, value in fields.items():
        longer = kept | {name: value}
        if value and name not in SECRETS and len(quote(urlencode(longer))) + len(page) < LONGEST_ADDRESS - 100:
            kept = longer
    return f"{page}?{urlencode(kept)}" if kept else page


def parse_form(shape: type[Body], fields: Mapping[str, str], **parsed: object) -> Body:
    """Validate the fields of a form without the empty ones; ``parsed`` replace their texts. Raises InvalidFormError."""
    try:
        return shape.model_validate({name: value for name, value in fields.items() if value.strip()} | parsed)
    except ValidationError as error:
        errors: dict[str, str] = {}
        for one in error.errors():
            errors.setdefault(str(one["loc"][0]) if one["loc"] else "form", describe_error(one))
        raise InvalidFormError(errors) from error


def choices(values: Sequence[str], empty: str | None = None) -> tuple[tuple[str, str], ...]:
    """Return the options of a choice whose texts are its values; ``empty``: the text of no choice."""
    return (*((("", empty),) if empty is not None else ()), *((value, value) for value in values))
