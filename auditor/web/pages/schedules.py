"""The pages of schedules: the list, and one schedule with its runs; admins add, change, run and remove them."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from sqlalchemy import Engine

from auditor.db.schedules import add_schedule, enable_schedule, list_runs, remove_schedule
from auditor.db.tokens import Bearer
from auditor.errors import AuditorError, ConflictError, EnvironmentUnusableError, NotFoundError, UsageError, one_line
from auditor.records.schedules import LastRun, ScheduleRow
from auditor.scheduling.due import check_command, check_cron, hide_paths_of_run, is_running, load_schedules, next_dues
from auditor.web.api.common import Database, Number
from auditor.web.api.schedules import NAME, show_to
from auditor.web.errors import status_of
from auditor.web.pages.common import ConfirmPage, PageAccess, render_page
from auditor.web.pages.forms import Fields, FormState, InvalidFormError, require_sign_in
from auditor.web.security.access import find_user

router = APIRouter()
DUES, RUNS = 3, 50
AddingAdmin = Annotated[Bearer, Depends(require_sign_in("admin", "/schedules"))]
Admin = Annotated[Bearer, Depends(require_sign_in("admin", "/schedules/{number}"))]


@dataclass(frozen=True)
class ScheduleEntry:
    """A schedule with its command as one would type it, and its next due times: none if it is disabled."""

    row: ScheduleRow
    command: str
    dues: tuple[datetime, ...]


@dataclass(frozen=True)
class SchedulesPage:
    """All schedules by name, and the form that adds one."""

    schedules: tuple[ScheduleEntry, ...]
    form: FormState


@dataclass(frozen=True)
class SchedulePage:
    """One schedule with its newest runs and the form that changes it; ``message``: why an action was refused."""

    schedule: ScheduleEntry
    runs: tuple[LastRun, ...]
    form: FormState
    message: str | None = None

    @property
    def running(self) -> bool:
        """Whether a run has begun whose end is still to come."""
        return any(is_running(run) for run in self.runs)


@router.get("/schedules", response_class=HTMLResponse)
def show_schedules(request: Request, engine: Database, _: PageAccess) -> HTMLResponse:
    return _render_list(request, engine, FormState.from_query(request))


@router.post("/schedules")
def add(request: Request, engine: Database, fields: Fields, _: AddingAdmin) -> Response:
    try:
        fields = {**fields, "name": fields.get("name", "").strip()}
        cron, words = _parse(request, fields)
        add_schedule(engine, fields["name"], cron, words)
    except ConflictError:
        used = {"name": f"there is a schedule {fields['name']!r} already; change it on its page"}
        return _render_list(request, engine, FormState(fields, used), 409)
    except AuditorError as error:
        return _render_list(request, engine, FormState.from_error(fields, error), status_of(error))
    number = next(row.id for row in load_schedules(engine) if row.name == fields["name"])
    return RedirectResponse(f"/schedules/{number}", 303)


@router.get("/schedules/{number}", response_class=HTMLResponse)
def show_schedule(request: Request, engine: Database, _: PageAccess, number: Number) -> HTMLResponse:
    return _render_one(request, engine, _find(engine, number), FormState.from_query(request))


@router.post("/schedules/{number}")
def change(request: Request, engine: Database, number: Number, fields: Fields, _: Admin) -> Response:
    row = _find(engine, number)
    try:
        cron, words = _parse(request, {**fields, "name": row.name}, row)
        add_schedule(engine, row.name, cron, words, replace=True)
    except AuditorError as error:
        return _render_one(request, engine, row, FormState.from_error(fields, error), status=status_of(error))
    return RedirectResponse(f"/schedules/{number}", 303)


@router.post("/schedules/{number}/{action}")
def act(
    request: Request,
    engine: Database,
    number: Number,
    action: Literal["enable", "disable", "run", "delete"],
    _: Admin,
) -> Response:
    row = _find(engine, number)
    if action == "delete":
        remove_schedule(engine, row.name)
        return RedirectResponse("/schedules", 303)
    if action == "run":
        try:
            request.app.state.background().run_schedule(row.name)
        except AuditorError as error:
            message = one_line(str(error))
            return _render_one(request, engine, row, FormState(), message, status=status_of(error))
    else:
        enable_schedule(engine, row.name, enabled=action == "enable")
    return RedirectResponse(f"/schedules/{number}", 303)


@router.get("/schedules/{number}/delete", response_class=HTMLResponse)
def confirm_deletion(request: Request, engine: Database, _: PageAccess, number: Number) -> HTMLResponse:
    row = _find(engine, number)
    context = ConfirmPage(
        title=f"Delete the schedule {row.name}?",
        text="Its list of runs is deleted, too. The scans that it has started, and their results, stay.",
        action=f"/schedules/{number}/delete",
        button="Delete the schedule",
        back=f"/schedules/{number}",
        scope="admin",
    )
    return render_page(request, "confirm.html", context)


def _parse(request: Request, fields: Mapping[str, str], stored: ScheduleRow | None = None) -> tuple[str, list[str]]:
    """Check a form as `auditor schedule add` checks its arguments; a stored command may stay, whatever it is.

    Raises:
        InvalidFormError: with a sentence for each field that is wrong.
    """
    name, cron, command = (fields.get(key, "").strip() for key in ("name", "cron", "command"))
    errors = {}
    try:
        if stored is None:
            NAME.check(name)
    except ValueError as error:
        errors["name"] = str(error)
    try:
        check_cron(cron)
    except UsageError as error:
        errors["cron"] = one_line(str(error)).removeprefix("--cron: ")
    words: list[str] = []
    try:
        words = _split(command)
        if stored is None or tuple(words) != stored.command[1:]:
            _check_words(request, words)
    except AuditorError as error:
        errors["command"] = one_line(str(error)).removeprefix("command of the schedule: ")
    if errors:
        raise InvalidFormError(errors)
    return cron, words


def _split(command: str) -> list[str]:
    """The words of a command as a shell splits them, without ``auditor`` in front. Raises UsageError."""
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise UsageError(f"expected a command with matching quotes, got {command[:60]!r} ({error})") from error
    return words[1:] if words[:1] == ["auditor"] else words


def _check_words(request: Request, words: list[str]) -> None:
    check_scan = request.app.state.check_scan
    if check_scan is None:
        raise EnvironmentUnusableError("this server cannot check commands; use `auditor schedule add`")
    check_command(words)
    check_scan(words[1:])


def _find(engine: Engine, number: int) -> ScheduleRow:
    row = next((one for one in load_schedules(engine) if one.id == number), None)
    if row is None:
        raise NotFoundError(f"there is no schedule {number}")
    return row


def _entry(row: ScheduleRow) -> ScheduleEntry:
    dues = next_dues(row.cron, datetime.now(UTC), DUES) if row.next else []
    return ScheduleEntry(row, shlex.join(row.command), tuple(dues))


def _render_list(request: Request, engine: Engine, form: FormState, status: int = 200) -> HTMLResponse:
    user = find_user(request)
    context = SchedulesPage(tuple(_entry(show_to(user, row)) for row in load_schedules(engine)), form)
    return render_page(request, "schedules.html", context, status)


def _render_one(
    request: Request,
    engine: Engine,
    row: ScheduleRow,
    form: FormState,
    message: str | None = None,
    *,
    status: int = 200,
) -> HTMLResponse:
    user, runs = find_user(request), list_runs(engine, row.id, limit=RUNS)
    if show_to(user, row) is not row:
        row, runs = show_to(user, row), list(map(hide_paths_of_run, runs))
    entry = _entry(row)
    stored = {"cron": row.cron, "command": shlex.join(row.command[1:])}
    filled = FormState({**stored, **form.values}, form.errors, form.message)
    context = SchedulePage(entry, tuple(runs), filled, message)
    return render_page(request, "schedule.html", context, status)
