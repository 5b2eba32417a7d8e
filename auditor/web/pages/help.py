"""The help page: what the flags and the terms of tables and plots mean. Every one has an anchor."""

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from auditor.results.flag_meanings import FLAGS, FlagMeaning
from auditor.results.terms import TERMS, Term
from auditor.web.pages.common import PageAccess, render_page

router = APIRouter()


@dataclass(frozen=True)
class HelpPage:
    """Flags by name, and terms by anchor."""

    flags: Mapping[str, FlagMeaning]
    terms: Mapping[str, Term]


@router.get("/help", response_class=HTMLResponse)
def show_help(request: Request, _: PageAccess) -> HTMLResponse:
    return render_page(request, "help.html", HelpPage(FLAGS, TERMS))
