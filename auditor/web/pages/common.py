"""What all pages share: who may see them, and how they are drawn."""

from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException

from auditor.db.tokens import check_token
from auditor.errors import UsageError
from auditor.web.access import COOKIE
from auditor.web.render import render


def check_page_access(request: Request) -> None:
    """Raises a redirection to the sign-in page where reading is closed, and no good token is in the cookie."""
    if request.app.state.open_reading:
        return
    found = check_token(request.app.state.engine, request.cookies.get(COOKIE, ""))
    if found is None:
        raise HTTPException(303, "sign in", {"Location": "/sign-in"})


Looking = Annotated[None, Depends(check_page_access)]


Typed = TypeVar("Typed", bound=BaseModel)


def asked_of(shape: type[Typed], fields: dict[str, str]) -> Typed:
    """What a form asks for; empty fields are left out. Raises UsageError for the first that is wrong."""
    try:
        return shape.model_validate({name: value for name, value in fields.items() if value})
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{first['loc'][0]}: {first['msg']}") from error


def page(request: Request, template: str, context: Any, status: int = 200) -> HTMLResponse:
    """A template with its context under the name ``page``."""
    return HTMLResponse(render(template, page=context, path=request.scope["path"]), status)
