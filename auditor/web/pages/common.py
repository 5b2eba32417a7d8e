"""Access to pages, and rendering."""

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.responses import HTMLResponse
from starlette.exceptions import HTTPException

from auditor.web.render import render
from auditor.web.security.access import SIGN_IN, address_of, find_user, sign_in_address


def check_page_access(request: Request) -> None:
    """Redirect to the sign-in page if the server is closed and the cookie holds no valid token."""
    if not request.app.state.open_reading and find_user(request) is None:
        raise HTTPException(303, "sign in", {"Location": sign_in_address(address_of(request))})


@dataclass(frozen=True)
class ConfirmPage:
    """A question before an action that cannot be undone; a form that needs no script sends ``action``.

    ``back``: the address without the action; ``scope``: what the action needs.
    """

    title: str
    text: str
    action: str
    button: str
    back: str
    scope: str


PageAccess = Annotated[None, Depends(check_page_access)]


def render_page(request: Request, template: str, context: Any, status: int = 200) -> HTMLResponse:
    """Render a template with its context, which the template calls ``page``.

    The template also gets ``path``, ``user`` (who is signed in, or None) and ``address``, the address to come back to.
    """
    path, user = request.scope["path"], find_user(request)
    address = context.next if path == SIGN_IN else address_of(request)
    return HTMLResponse(render(template, page=context, path=path, user=user, address=address), status)
