"""Access to pages, forms, and rendering."""

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
    """Redirect to the sign-in page if the server is closed and the cookie holds no valid token."""
    if request.app.state.open_reading:
        return
    if check_token(request.app.state.engine, request.cookies.get(COOKIE, "")) is None:
        raise HTTPException(303, "sign in", {"Location": "/sign-in"})


PageAccess = Annotated[None, Depends(check_page_access)]
Body = TypeVar("Body", bound=BaseModel)


def parse_form(shape: type[Body], fields: dict[str, str]) -> Body:
    """Validate the fields of a form without the empty ones. Raises UsageError for the first invalid field."""
    try:
        return shape.model_validate({name: value for name, value in fields.items() if value})
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{first['loc'][0]}: {first['msg']}") from error


def render_page(request: Request, template: str, context: Any, status: int = 200) -> HTMLResponse:
    """Render a template with its context, which the template calls ``page``."""
    return HTMLResponse(render(template, page=context, path=request.scope["path"]), status)
