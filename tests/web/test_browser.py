"""The pages in a real browser: what a person does with them, and whether everybody can read them."""

import hashlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect

from tests.factories.browser import launched, serving
from tests.factories.command import run
from tests.web.serving import boosted, few_images, token

MODELS = ("at-eps0.10", "standard", "trades-eps0.10", "saturated", "noise")


@pytest.fixture
def server(tmp_path: Path, fashion_mnist: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of `auditor serve` on a scan of five demo models, with one boost."""
    few_images(tmp_path, fashion_mnist, monkeypatch)
    chosen = [part for name in MODELS for part in ("--model", name)]
    assert run("scan", "demo", "--samples", "20", "--save-adversarials", tmp_path / "kept", *chosen).exit_code == 0
    (tmp_path / "weights").write_bytes(boosted(2, 1))
    assert run("schedule", "add", "nightly", "--cron", "0 2 * * *", "--", "scan", "demo").exit_code == 0
    with serving() as address:
        yield address


@pytest.fixture
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


def models(page: Page) -> list[str]:
    return [name.removeprefix("demo:") for name in page.locator(".board tbody th a").all_inner_texts()]


@pytest.mark.long
def test_from_the_leaderboard_to_a_checkpoint(server: str, browser: Browser, tmp_path: Path) -> None:
    context = browser.new_context()
    page, broken = context.new_page(), []
    page.on("pageerror", lambda error: broken.append(str(error)))
    page.on("console", lambda message: broken.append(message.text) if message.type == "error" else None)
    page.on("request", lambda request: broken.append(request.url) if not request.url.startswith(server) else None)

    page.goto(f"{server}/")
    assert set(models(page)) == set(MODELS)
    page.get_by_role("link", name="gap", exact=True).click()
    expect(page.locator('th[aria-sort="descending"]')).to_have_text("gap ▾")
    gaps = [float(text.replace("−", "-")) for text in page.locator("tbody td:nth-last-child(3)").all_inner_texts()]
    assert gaps == sorted(gaps, reverse=True)
    assert "sort=-gap" in page.url
    page.get_by_label("Model").fill("at-")
    page.get_by_role("button", name="Filter").click()
    expect(page.locator(".board tbody th a")).to_have_text(["demo:at-eps0.10"])
    page.goto(page.url)  # what is shared is what the other one sees
    assert models(page) == ["at-eps0.10"]

    page.get_by_role("link", name="demo:at-eps0.10").click()
    heatmap = page.locator("figure.heatmap").first
    cell = heatmap.locator(".cell").nth(1)
    cell.hover()
    expect(heatmap.locator(".reading")).to_have_text(cell.locator("title").text_content() or "")
    page.mouse.move(0, 0)  # or what is scrolled under the pointer is read last
    heatmap.locator("svg[data-grid]").focus()
    page.keyboard.press("ArrowDown")
    below = heatmap.locator(".cell title").nth(10).text_content() or ""
    expect(heatmap.locator(".reading")).to_have_text(below)
    page.evaluate("window.scrollBy(0, 40)")  # another cell is under the pointer now, which has not moved
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
    cell.dispatch_event("pointerover", {"bubbles": True})
    expect(heatmap.locator(".reading")).to_have_text(below)

    page.get_by_role("link", name="Compare with another model").click()
    page.get_by_label("B", exact=True).fill("demo:standard")
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_text("is more robust than demo:standard")).to_be_visible()

    sign_in(page, "scan")
    page.get_by_role("link", name="Scans", exact=True).click()
    page.get_by_label("Models", exact=True).fill("plain-standard")
    page.get_by_label("Images").fill("10")
    page.get_by_role("button", name="Scan").click()
    expect(page.get_by_role("heading", name="Scan 2 of demo")).to_be_visible()
    expect(page.locator("#live")).to_have_text("done: 1 of 1 ended", timeout=60_000)

    page.get_by_role("link", name="Boosts").click()
    page.get_by_role("link", name="1", exact=True).click()
    expect(page.get_by_text("Significant gain: against demo:standard")).to_be_visible()
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download the weights").click()
    downloaded = Path(downloading.value.path()).read_bytes()
    assert downloaded == (tmp_path / "weights").read_bytes()
    shown = page.request.get(f"{server}/api/v1/checkpoints/1").json()
    assert shown["file_sha256"] == hashlib.sha256(downloaded).hexdigest()

    page.get_by_role("button", name="Sign out").click()
    sign_in(page, "boost")
    page.get_by_role("link", name="Boosts").click()
    page.get_by_label("Model").fill("demo:standard")
    page.get_by_label("Epochs").fill("1")
    page.get_by_label("Protocol").select_option("quick")
    page.get_by_label("Images").fill("10")
    page.get_by_role("button", name="Boost").click()
    expect(page.get_by_role("heading", name="Boost 2 of demo:standard")).to_be_visible()
    expect(page.locator("#live")).to_have_text("done", timeout=60_000)
    expect(page.get_by_text("checkpoint:2", exact=True)).to_be_visible()
    assert broken == []


def sign_in(page: Page, scope: str) -> None:
    page.get_by_role("link", name="Sign in", exact=True).and_(page.locator(".user")).click()
    page.get_by_label("Token").fill(token(scope)["Authorization"].removeprefix("Bearer "))
    page.get_by_role("button", name="Sign in").click()


@pytest.mark.long
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_every_page(scheme: str, server: str, browser: Browser, tmp_path: Path) -> None:
    assert run("report", "1", "-o", tmp_path / "report.html").exit_code == 0
    page = browser.new_context(color_scheme=scheme, viewport={"width": 1200, "height": 900}).new_page()
    paths = ("", "zoo", "audits/1", "audits/1?order=C", "audits/1/templates?match=tops",
             "compare?a=at-eps0.10&b=standard", "scans", "scans/1", "boosts", "boosts/1",
             "schedules", "sign-in?scope=scan", "help", "nowhere")  # fmt: skip
    addresses = [*(f"{server}/{path}" for path in paths), (tmp_path / "report.html").as_uri()]
    for number, address in enumerate(addresses):
        page.goto(address)
        found = Axe().run(page).response["violations"]
        serious = [
            (one["id"], one["nodes"][0]["html"][:200]) for one in found if one["impact"] in ("serious", "critical")
        ]
        assert serious == [], address
        if folder := os.environ.get("SCREENSHOTS"):
            page.screenshot(path=f"{folder}/{scheme}-{number:02}.png", full_page=True)
    page.set_viewport_size({"width": 390, "height": 844})
    for address in addresses:
        page.goto(address)
        wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert wider <= 0, address


@pytest.mark.long
def test_pictures_need_no_script(server: str, browser: Browser) -> None:
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(f"{server}/models/demo:standard")
    assert page.locator(".templates img").count() == 20
    assert page.locator("svg path.tree").count() == 2
    images = page.locator("#samples img")
    assert images.count() % 3 == 0
    assert images.count() >= 3
    widths = page.evaluate("Array.from(document.images, (one) => one.naturalWidth)")
    assert set(widths) == {28}
    before = page.locator("#samples li").count()
    name = page.locator("#samples li strong").first.inner_text().partition(" → ")[0]
    page.locator("#samples").get_by_label("Class").select_option(name)
    page.get_by_role("button", name="Filter").click()
    assert 1 <= page.locator("#samples li").count() < before
    assert {text.partition(" → ")[0] for text in page.locator("#samples li strong").all_inner_texts()} == {name}
    page.get_by_role("link", name="all in C's").click()
    assert page.locator("svg path.tree").count() == 1
    page.goto(f"{server}/audits/1/templates")
    page.get_by_label("Class or superclass").fill("footwear")
    page.get_by_role("button", name="Search").click()
    assert sorted(page.locator(".tile strong").all_inner_texts()) == ["ankle boot", "sandal", "sneaker"]


@pytest.mark.long
def test_the_theme_that_was_chosen_is_remembered(server: str, browser: Browser) -> None:
    page = browser.new_context(color_scheme="light").new_page()
    page.goto(f"{server}/scans")
    page.get_by_role("button", name="Dark").click()
    page.goto(f"{server}/zoo")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    assert re.match(r"rgb\(17, 22, 28\)", page.evaluate("getComputedStyle(document.body).backgroundColor"))
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
