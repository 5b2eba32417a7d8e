"""Schedules in a real browser: by keyboard alone, with and without scripts, on a desk and on a phone."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from auditor.config import settings
from auditor.db.session import open_database
from tests.factories.adaptations import adapted
from tests.factories.browser import launched, serving
from tests.web.serving import token


@pytest.fixture
def server() -> Iterator[str]:
    """The address of `auditor serve` on the test's own database."""
    open_database(settings().database_url)
    with serving() as address:
        yield address


@pytest.fixture
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


def tab_to(page: Page, name: str, role: str) -> None:
    """Press Tab until the focus is where it should be."""
    wanted = page.get_by_role(role, name=name, exact=True)  # type: ignore[arg-type]
    for _ in range(60):
        page.keyboard.press("Tab")
        if wanted.evaluate("(one) => one === document.activeElement"):
            return
    raise AssertionError(f"Tab does not reach the {role} {name!r}")


def press(page: Page, name: str, role: str = "button") -> None:
    tab_to(page, name, role)
    page.keyboard.press("Enter")


def type_into(page: Page, name: str, words: str) -> None:
    tab_to(page, name, "textbox")
    page.keyboard.press("Control+A")
    page.keyboard.type(words)


@pytest.mark.long
@pytest.mark.parametrize("scripts", [True, False])
def test_a_schedule_is_added_run_disabled_and_deleted_by_keyboard(server: str, browser: Browser, scripts: bool) -> None:
    context = browser.new_context(java_script_enabled=scripts)
    page, broken = context.new_page(), []
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.on("request", lambda request: broken.append(request.url) if not request.url.startswith(server) else None)
    page.goto(f"{server}/schedules")

    type_into(page, "Name", "nightly")
    type_into(page, "Cron expression", "61 2 * * *")
    type_into(page, "Command", "scan demo --model standard --protocol screen")
    press(page, "Add the schedule")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    type_into_secret(page, token("admin")["Authorization"].removeprefix("Bearer "))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Schedules")).to_be_visible()
    expect(page.get_by_label("Name")).to_have_value("nightly")

    press(page, "Add the schedule")
    expect(page.get_by_label("Cron expression")).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_text("expected five fields such as '0 2 * * *'")).to_be_visible()
    expect(page.get_by_label("Command")).to_have_value("scan demo --model standard --protocol screen")
    type_into(page, "Cron expression", "0 2 * * *")
    press(page, "Add the schedule")
    expect(page.get_by_role("heading", name="Schedule nightly")).to_be_visible()

    press(page, "Run now")
    cell = page.get_by_role("region", name="Runs").get_by_role("cell")
    while not scripts and "done" not in cell.inner_text():  # the test's own time limit ends it
        page.reload()
    expect(cell).to_have_text("scan 1 done", timeout=120_000)

    press(page, "Disable")
    expect(page.get_by_text("not while it is disabled")).to_be_visible()
    press(page, "Enable")
    expect(page.get_by_role("button", name="Disable")).to_be_visible()

    press(page, "Delete …")
    expect(page.get_by_role("heading", name="Delete the schedule nightly?")).to_be_visible()
    press(page, "Back without a change", "link")
    press(page, "Delete …")
    press(page, "Delete the schedule")
    expect(page.get_by_text("There are no schedules yet.")).to_be_visible()
    assert broken == []


def type_into_secret(page: Page, secret: str) -> None:
    """The field of a token has no role, because it is a password."""
    expect(page.get_by_label("Token")).to_be_focused()
    page.keyboard.type(secret)


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_everybody_can_read_these_pages(server: str, browser: Browser, scheme: str, width: int) -> None:
    long = "a" * 100
    for number in range(2):
        adapted(state="failed", reason=f"reason {number} {'x' * 300}")
    adapted()
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
    secret = token("admin")["Authorization"].removeprefix("Bearer ")
    context.add_cookies([{"name": "auditor_token", "value": secret, "url": server}])
    page = context.new_page()
    page.goto(f"{server}/schedules")
    page.get_by_label("Name").fill(long)
    page.get_by_label("Cron expression").fill("*/5 * * * *")
    page.get_by_label("Command").fill(
        f"scan demo --match 'at-*' --protocol screen --dataset fashion_mnist{' --force' * 12}"
    )
    page.get_by_role("button", name="Add the schedule").click()
    expect(page.get_by_role("heading", name=f"Schedule {long}")).to_be_visible()
    for path in (
        "schedules", "schedules/1", "schedules/1/delete", "tokens", "tokens/1/revoke", "checkpoints", "boosts",
        "adaptations", "adaptations/1", "adaptations/3",
    ):  # fmt: skip
        page.goto(f"{server}/{path}")
        found = Axe().run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == [], path
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider <= 0, path
    page.goto(f"{server}/schedules")
    region = page.get_by_role("region", name="Schedules")
    if width == 1440:
        assert region.evaluate("(one) => one.scrollWidth - one.clientWidth") <= 0, "the outcome is cut off"
