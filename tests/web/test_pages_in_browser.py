"""Every page in a browser, with a thousand models and with long names: axe, width, errors, other hosts, no scripts."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import NamedTuple
from urllib.parse import urlencode

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from auditor.db.session import open_database
from auditor.web.security.access import COOKIE
from tests.factories.browser import launched, serving
from tests.factories.large_zoo import LargeZoo, fill_zoo


class Shown(NamedTuple):
    """A page: its address, a selector of what its readers came for, and its status."""

    path: str
    selector: str = "main table tbody tr"
    status: int = 200


PAGES = {
    "leaderboard": Shown("/"),
    "leaderboard of one board": Shown("/?dataset=cifar10&protocol=standard&sort=-gap"),
    "leaderboard without rows": Shown("/?match=nothing", "main form"),
    "zoo plot": Shown("/zoo", "main svg"),
    "audit": Shown("/audits/{zoo.done}", "main svg"),
    "audit with pictures": Shown("/audits/{zoo.pictured}", "main img"),
    "templates": Shown("/audits/{zoo.pictured}/templates", "main img"),
    "failed audit": Shown("/audits/{zoo.failed}", "main code"),
    "cancelled audit": Shown("/audits/{zoo.cancelled}", "main code"),
    "running audit": Shown("/audits/{zoo.running}", "main h1"),
    "queued audit": Shown("/audits/{zoo.queued}", "main h1"),
    "choosing what to compare": Shown("/compare", "main form"),
    "comparison of two": Shown("/compare?{two}"),
    "comparison of five": Shown("/compare?{five}"),
    "scans": Shown("/scans"),
    "scan": Shown("/scans/{zoo.scan}"),
    "running scan": Shown("/scans/{zoo.running_scan}"),
    "difference of scans": Shown("/scans/{zoo.scan}/difference", "main h1"),
    "boosts": Shown("/boosts"),
    "boost": Shown("/boosts/{zoo.jobs.boost}", "main svg"),
    "running boost": Shown("/boosts/{zoo.jobs.running_boost}", "main h1"),
    "failed boost": Shown("/boosts/{zoo.jobs.failed_boost}", "main h1"),
    "adaptations": Shown("/adaptations"),
    "adaptation": Shown("/adaptations/{zoo.jobs.adaptation}"),
    "running adaptation": Shown("/adaptations/{zoo.jobs.running_adaptation}", "main h1"),
    "checkpoints": Shown("/checkpoints"),
    "checkpoint": Shown("/checkpoints/{zoo.jobs.checkpoint}", "main h1"),
    "workers": Shown("/workers"),
    "schedules": Shown("/schedules"),
    "schedule": Shown("/schedules/1", "main h1"),
    "deleting a schedule": Shown("/schedules/1/delete", "main form"),
    "tokens": Shown("/tokens"),
    "revoking a token": Shown("/tokens/1/revoke", "main form"),
    "API": Shown("/docs", "main h2"),
    "help": Shown("/help", "main h2"),
    "sign-in": Shown("/sign-in", "main h1"),
    "not found": Shown("/audits/99999999", "main h1", 404),
}
THOUSAND, LONG = "a thousand models", "long names"
WIDE, NARROW = ("light", 1440, 900), ("dark", 390, 844)
VIEWS = [
    pytest.param((THOUSAND, *WIDE), id="a thousand models, wide and light", marks=pytest.mark.long),
    pytest.param((LONG, *NARROW), id="long names, narrow and dark", marks=pytest.mark.long),
    pytest.param((THOUSAND, *NARROW), id="a thousand models, narrow and dark", marks=pytest.mark.slow),
    pytest.param((LONG, *WIDE), id="long names, wide and light", marks=pytest.mark.slow),
]


class Served(NamedTuple):
    """A server of a large zoo, and what is in it."""

    address: str
    zoo: LargeZoo

    def at(self, path: str) -> str:
        two, five = (urlencode({"model": self.zoo.compared[:count]}, doseq=True) for count in (2, 5))
        return self.address + path.format(zoo=self.zoo, two=two, five=five)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as found:
        yield found


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Served]]:
    """Starts a server of a zoo by the zoo's name, once."""
    with contextlib.ExitStack() as stack:

        @functools.cache
        def start(name: str) -> Served:
            folder = tmp_path_factory.mktemp("zoo")
            url = f"sqlite:///{folder}/zoo.db"
            engine = open_database(url)
            zoo = fill_zoo(engine, long_names=name == LONG, nights=3)
            engine.dispose()
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("AUDITOR_DATABASE_URL", url)
                patch.setenv("AUDITOR_CHECKPOINTS", str(folder))
                return Served(stack.enter_context(serving()), zoo)

        yield start


@pytest.fixture(scope="module", params=VIEWS)
def view(
    request: pytest.FixtureRequest, serve: Callable[[str], Served], browser: Browser
) -> Iterator[tuple[Served, Page]]:
    """A server, and a page of an admin's browser."""
    zoo, scheme, width, height = request.param
    served = serve(zoo)
    context = browser.new_context(
        color_scheme=scheme, viewport={"width": width, "height": height}, reduced_motion="reduce"
    )
    context.add_cookies([{"name": COOKIE, "value": served.zoo.token, "url": served.address}])
    yield served, context.new_page()
    context.close()


@pytest.mark.parametrize("name", PAGES)
def test_everybody_can_read_the_page(name: str, view: tuple[Served, Page], request: pytest.FixtureRequest) -> None:
    (served, page), shown, faults = view, PAGES[name], list[str]()
    watched = {
        "pageerror": lambda error: faults.append(str(error)),
        "console": lambda message: faults.append(message.text) if message.type == "error" else None,
        "request": lambda sent: faults.append(sent.url) if not sent.url.startswith((served.address, "data:")) else None,
    }
    for event, listener in watched.items():
        page.on(event, listener)  # type: ignore[call-overload]
    answer = page.goto(served.at(shown.path))
    assert answer is not None
    assert answer.status == shown.status
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/{request.node.callspec.id.replace(' ', '-')}.png", full_page=True)
    wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    found = Axe().run(page, options={"resultTypes": ["violations"]}).response["violations"]
    for event, listener in watched.items():
        page.remove_listener(event, listener)
    assert [fault for fault in faults if shown.status == 200 or "404" not in fault] == []
    assert wider <= 0
    serious = [(one["id"], one["nodes"][0]["html"][:300]) for one in found if one["impact"] in ("serious", "critical")]
    assert serious == []


@pytest.mark.long
def test_every_page_has_its_content_without_scripts(serve: Callable[[str], Served], browser: Browser) -> None:
    served = serve(LONG)
    context = browser.new_context(java_script_enabled=False)
    context.add_cookies([{"name": COOKIE, "value": served.zoo.token, "url": served.address}])
    page = context.new_page()
    empty = []
    for name, shown in PAGES.items():
        page.goto(served.at(shown.path))
        if not page.locator(shown.selector).first.is_visible():
            empty.append(name)
    context.close()
    assert empty == []
