"""Pages of running jobs in a real browser: a change in the database appears without a reload, and nothing is lost."""

from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect
from sqlalchemy import Engine

from auditor.config import settings
from auditor.db.leases import Leases
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.db.tokens import revoke_token
from auditor.db.trainings import Trainings
from auditor.records.boosts import EpochScore
from tests.factories.browser import launched, serving
from tests.factories.records import record
from tests.factories.scans import age, boost_of, scan_of, send_heartbeat
from tests.web.serving import token

pytestmark = pytest.mark.long


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = open_database(settings().database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def server(engine: Engine, request: pytest.FixtureRequest) -> Iterator[str]:  # noqa: ARG001
    """The address of `auditor serve` on the test's database; its parameter are more options."""
    with serving(*getattr(request, "param", [])) as address:
        yield address


@pytest.fixture
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


def watched(browser: Browser, server: str, **options: object) -> tuple[Page, list[str]]:
    """A page, and its errors: of scripts, of the content security policy, and requests to other hosts."""
    page, broken = browser.new_context(**options).new_page(), []
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.on("console", lambda message: broken.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: broken.append(request.url) if not request.url.startswith(server) else None)
    return page, broken


def finish_running(engine: Engine, scan_id: int) -> None:
    """End the running audit of a scan, and start the next."""
    store = Store(engine)
    (job_id,) = [lease.job_id for lease in Leases(engine).running()]
    job = store.load_job(job_id)
    assert job is not None
    name = job.entry.model.removeprefix("demo:")
    assert store.finish(job_id, 1, record(name, f"{scan_id}-{name}", protocol="screen"))
    for waiting in Leases(engine).longest_unsent("cpu", 1):
        store.claim(waiting.job_id, "elsewhere-0a1b:7")
        send_heartbeat(engine, audit_id=waiting.job_id, part="pgd", part_done=1, part_total=4)


def test_a_running_scan_is_followed_to_its_end(engine: Engine, server: str, browser: Browser) -> None:
    scan_of(engine, "done", "running", "queued")
    page, broken = watched(browser, server)
    page.clock.install()
    page.goto(f"{server}/scans/1")
    expect(page.get_by_role("status")).to_have_text("running: 1 of 3 ended")
    page.get_by_role("link", name="1", exact=True).focus()
    page.evaluate("window.sameDocument = true")

    finish_running(engine, 1)
    expect(page.get_by_role("status")).to_have_text("running: 2 of 3 ended")
    expect(page.locator("#audit-2 .number").nth(2)).to_have_text("50.0")
    expect(page.locator("#audit-3")).to_contain_text("pgd 1/4 on elsewhere-0a1b:7")
    expect(page.get_by_role("link", name="1", exact=True)).to_be_focused()

    age(engine, 75)
    expect(page.locator("#audit-3 .silent")).to_contain_text("no sign of life for 1 min")
    age(engine, -75)
    expect(page.locator("#audit-3 .silent")).to_have_count(0)

    finish_running(engine, 1)
    expect(page.get_by_role("status")).to_have_text("done: 3 of 3 ended")
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    expect(page.locator("#refresh")).to_have_count(0)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.run_for(20_000)
    assert asked == []
    assert page.evaluate("window.sameDocument"), "it was never loaded anew"
    assert broken == []


def test_a_scan_is_cancelled_and_retried_at_its_page(
    engine: Engine, browser: Browser, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUDITOR_BROKER_URL", "redis://127.0.0.1:1/0")  # nobody runs it
    server = request.getfixturevalue("server")
    scan_of(engine, "done", "queued", "queued")
    page, broken = watched(browser, server)
    page.goto(f"{server}/scans/1")
    page.get_by_role("button", name="Cancel").click()
    page.get_by_label("Token").fill(token("scan")["Authorization"].removeprefix("Bearer "))
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("status")).to_have_text("interrupted: 1 of 3 ended")
    page.get_by_role("link", name="2 cancelled").click()
    expect(page.locator(".audits tbody tr")).to_have_count(2)
    page.get_by_role("button", name="Retry the 2 failed and cancelled").click()
    expect(page.get_by_role("status")).to_have_text("running: 1 of 3 ended")
    assert broken == []


def test_new_scans_appear_in_the_list_while_somebody_types(engine: Engine, server: str, browser: Browser) -> None:
    scan_of(engine, "running")
    page, broken = watched(browser, server)
    page.goto(f"{server}/scans")
    page.get_by_text("More options").click()
    page.get_by_label("Radius ε").fill("8/2")
    page.get_by_label("Zoo").first.select_option("timm")
    page.get_by_label("Radius ε").focus()
    scan_of(engine, "queued", queue="gpu")
    expect(page.locator("#scan-2")).to_contain_text("no worker serves the queue gpu", timeout=15_000)
    page.keyboard.type("55")
    expect(page.get_by_label("Radius ε")).to_have_value("8/255")
    expect(page.get_by_label("Zoo").first).to_have_value("timm")
    assert broken == []


def test_workers_and_queues_are_live(engine: Engine, server: str, browser: Browser) -> None:
    page, broken = watched(browser, server)
    page.goto(f"{server}/workers")
    expect(page.get_by_text("No process runs audits or trainings now")).to_be_visible()
    scan_of(engine, "queued", "queued")
    expect(page.get_by_text("No worker serves the queue cpu")).to_be_visible()
    send_heartbeat(engine)
    expect(page.get_by_text("No worker serves the queue cpu")).to_have_count(0)
    expect(page.locator("#queue-cpu")).to_contain_text("elsewhere-0a1b:7")
    assert broken == []


def test_a_boost_shows_its_next_epoch(engine: Engine, server: str, browser: Browser) -> None:
    number = boost_of(engine, "running")
    page, broken = watched(browser, server)
    page.goto(f"{server}/boosts/{number}")
    expect(page.get_by_role("status")).to_have_text("running: epoch 1 2/5")
    assert page.locator("figure.plot").count() == 0
    scores = {"clean_accuracy": 0.9, "pgd_accuracy": 0.3, "gap": 0.1, "seconds": 1}
    history = [EpochScore(number=epoch, loss=1.0, **scores) for epoch in range(2)]
    trainings = Trainings(engine)
    assert trainings.note_history(number, 1, history)
    expect(page.locator("figure.plot").first).to_be_visible()
    assert trainings.fail(number, 1, "out of memory")
    expect(page.get_by_role("status")).to_contain_text("failed")
    expect(page.locator("#refresh")).to_have_count(0)
    assert broken == []


def test_a_page_stays_while_the_server_is_away(engine: Engine, server: str, browser: Browser) -> None:
    scan_of(engine, "running")
    page, _ = watched(browser, server)
    page.goto(f"{server}/scans/1")
    page.route("**/scans/1", lambda route: route.fulfill(status=503, body="<main id='main'>no database</main>"))
    with page.expect_response(lambda response: response.status == 503):
        pass
    expect(page.get_by_role("status")).to_have_text("running: 0 of 1 ended")
    page.unroute("**/scans/1")
    finish_running(engine, 1)
    expect(page.get_by_role("status")).to_have_text("done: 1 of 1 ended")


@pytest.mark.parametrize("server", [["--closed"]], indirect=True)
def test_a_reader_whose_token_is_revoked_comes_to_the_sign_in_page(
    engine: Engine, server: str, browser: Browser
) -> None:
    scan_of(engine, "running")
    page, broken = watched(browser, server)
    page.goto(f"{server}/scans/1")
    page.get_by_label("Token").fill(token("read")["Authorization"].removeprefix("Bearer "))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("status")).to_have_text("running: 0 of 1 ended")
    revoke_token(engine, "read")
    expect(page.get_by_label("Token")).to_be_visible()
    page.get_by_label("Token").fill(token("read", "another")["Authorization"].removeprefix("Bearer "))
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("status")).to_have_text("running: 0 of 1 ended")
    assert broken == []


@pytest.mark.parametrize(("scheme", "width"), [("light", 1440), ("dark", 390)])
def test_live_pages_are_for_everybody(scheme: str, width: int, engine: Engine, server: str, browser: Browser) -> None:
    scan_of(engine, "done", "failed", "cancelled")
    scan_of(engine, "done", "failed", "running", *["queued"] * 3)
    boost_of(engine, "running", worker="elsewhere-0a1b:8")
    age(engine, 75)
    page, broken = watched(browser, server, color_scheme=scheme, viewport={"width": width, "height": 900})
    for path in ("scans", "scans?triage=2", "scans/1", "scans/2", "scans/2/difference", "workers", "boosts/1"):
        page.goto(f"{server}/{path}")
        found = Axe().run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == [], path
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider <= 0, path
    assert broken == []


def test_everything_but_the_refreshing_works_without_scripts(engine: Engine, server: str, browser: Browser) -> None:
    scan_of(engine, "done", "running")
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(f"{server}/scans/1")
    expect(page.get_by_text("without JavaScript, reload it")).to_be_visible()
    finish_running(engine, 1)
    page.reload()
    expect(page.get_by_role("status")).to_have_text("done: 2 of 2 ended")
