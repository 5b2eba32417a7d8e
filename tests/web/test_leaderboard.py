"""The leaderboard: one board at a time, its ranks wherever one is, facets, columns, pages and downloads."""

import csv
import html
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from fastapi.testclient import TestClient
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sqlalchemy import Engine, insert

from auditor.config import settings
from auditor.db import models as tables
from auditor.db.results import Filter, list_results
from auditor.db.session import open_database
from auditor.db.store import Store
from auditor.results.boards import name_boards, order_boards
from auditor.web.app import create_app
from auditor.web.leaderboard import DEFAULT_COLUMNS, build_boards
from tests.factories.audits import audited, screened
from tests.factories.browser import CHROMIUM
from tests.factories.evidence import add_bounds, add_smoothing, random_verdicts
from tests.factories.large_zoo import fill_zoo
from tests.factories.records import REQUEST, entry
from tests.web.serving import client

MODELS = 1000
BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server of one board with 1,000 models, the worst first; every tenth is flagged. Another board has three."""
    engine = open_database(f"sqlite:///{tmp_path_factory.mktemp('board')}/a.db")
    fill_board(engine)
    yield TestClient(create_app(engine, per_minute=100_000))
    engine.dispose()


def fill_board(engine: Engine) -> None:
    with engine.begin() as connection:
        numbers = range(1, MODELS + 4)
        connection.execute(insert(tables.Model), [_model(number) for number in numbers])
        connection.execute(insert(tables.Audit), [_audit(number) for number in numbers])
        connection.execute(insert(tables.Clustering), [_clustering(number) for number in numbers])
        connection.execute(insert(tables.Published), [_published(number) for number in range(1, 11)])


def _model(number: int) -> dict:
    return {
        "id": number, "name": f"timm:m{number:04}", "source": "timm" if number % 4 else "robustbench",
        "description": "", "dataset": "cifar10", "architecture": {"name": ("resnet18", "vit")[number % 2]},
        "training": {"method": "at", "epochs": number} if number % 5 == 0 else {},
    }  # fmt: skip


def _audit(number: int) -> dict:
    at = BEGAN + timedelta(days=number % 100)
    return {
        "id": number, "model_id": number, "identity": f"{number}", "state": "done", "attempt": 1, "latest": True,
        "latest_done": True, "dataset": "cifar10", "threat_model": "Linf", "norm": "Linf", "eps": 8 / 255,
        "protocol": "standard" if number <= MODELS else "quick", "samples": 2000, "linearization": "remove", "seed": 0,
        "parameters": {}, "classes": [], "superclasses": [], "n": 2000, "clean_accuracy": 0.9,
        "robust_accuracy": number / 2000, "robust_low": 0.0, "robust_high": 1.0, "notes": [], "not_measurable": [],
        "flags": ["randomized"] if number % 10 == 0 else [], "device": "cpu", "versions": {}, "queued_at": at,
        "started_at": at, "finished_at": at, "confirmed_at": at,
    }  # fmt: skip


def _clustering(number: int) -> dict:
    return {"audit_id": number, "kind": "weights", "gap": -number / 1000, "leaf_order": [], "reasons": {}, "size": 1}


def _published(number: int) -> dict:
    return {
        "model": f"timm:m{number:04}", "norm": "Linf", "eps": 8 / 255, "robust_accuracy": 0.5,
        "autoattack_accuracy": 0.5, "unreliable": False,
    }  # fmt: skip


def rows(page: str) -> list[tuple[str, str]]:
    """Rank and model of each row."""
    found = re.findall(r'<td class="number">([\d–]*)</td>\s*<th scope="row" class="name"><a[^>]*>(.*?)</a>', page)
    return [(rank, html.unescape(name)) for rank, name in found]


def links(page: str) -> dict[str, str]:
    nav = page.partition('aria-label="Pages of the board"')[2].partition("</nav>")[0]
    return {name: "/" + html.unescape(address) for address, name in re.findall(r'href="([^"]*)"[^>]*>(\w+)<', nav)}


def true_rank(name: str) -> str:
    number = int(name[-4:])
    better = [other for other in range(number + 1, MODELS + 1) if other % 10 and other > 10]
    return "–" if number % 10 == 0 or number <= 10 else str(1 + len(better))


@pytest.mark.parametrize(
    "query",
    ["page=2", "page=18", "sort=-gap", "sort=gap&page=7", "sort=model&page=20", "source=robustbench", "flagged=true",
     "match=m04*&sort=-started_at", "training=at&architecture=VIT", "since=2026-03-01&until=2026-03-04"],
)  # fmt: skip
def test_ranks_are_those_of_the_whole_board(large: TestClient, query: str) -> None:
    shown = rows(large.get(f"/?{query}").text)
    assert len(shown) >= 20
    assert [rank for rank, _ in shown] == [true_rank(name) for _, name in shown]


@pytest.mark.long
def test_pages_cover_the_board_once_and_say_where_one_is(large: TestClient) -> None:
    page, seen = large.get("/").text, []
    for number in range(20):
        first = 50 * number + 1
        assert f"{first}–{first + 49} of 1,000" in page
        seen += rows(page)
        if "Next" in links(page):
            page = large.get(links(page)["Next"]).text
    assert len(seen) == len(set(seen)) == MODELS
    ranks = [int(rank) for rank, _ in seen if rank != "–"]
    assert ranks == sorted(ranks)
    assert {rank for rank, _ in seen[-109:]} == {"–"}  # flagged rows come last
    assert links(page).keys() == {"First", "Previous"}
    assert rows(large.get("/?page=99999").text) == rows(page)


def test_facets_say_what_each_choice_gives(large: TestClient) -> None:
    page = large.get("/?source=robustbench").text
    for option in (">any<", ">timm (750)<", ">robustbench (250)<", ">unflagged (198)<", ">randomized (50)<"):
        assert option in page, option
    assert ">standard (250)<" in page
    assert '<option value="resnet18">250</option>' in page
    assert ">quick, cifar10, Linf 8/255, n = 2000 (0)<" in page  # it has none of robustbench
    assert "250 that match, 1,000 in the board" in page


def test_a_facet_decides_the_board_and_a_board_is_kept(large: TestClient) -> None:
    quick = "quick, cifar10, Linf 8/255, n = 2000"
    for query in ({"protocol": "quick"}, {"setting": quick}, {"match": "m100[1-3]"}):
        page = large.get("/", params=query).text
        assert f"<h2>{quick}</h2>" in page
        assert len(rows(page)) == 3
    other = large.get("/", params={"setting": "standard, cifar10, Linf 8/255, n = 2000", "match": "m1001"}).text
    assert "None of the 1000 results of this board matches" in other
    assert ">1 in other boards<" in other


def test_columns_are_picked_and_stay(large: TestClient) -> None:
    page = large.get("/?columns=gap&columns=training&columns=started&sort=-gap").text
    heads = re.findall(
        r"<th scope=\"col\"[^>]*>(?:<a[^>]*>)?([^<]*)", page.partition("<thead>")[2].partition("<tbody>")[0]
    )
    assert [head.strip(" ▾") for head in heads if head] == ["#", "model", "gap", "training", "audited"]
    assert 'aria-sort="descending"' in page
    following = parse_qs(urlsplit(links(page)["Next"]).query)
    assert following["columns"] == ["gap", "training", "started"]
    assert following["sort"] == ["-gap"]
    assert "<time datetime=" in page
    assert "published %</a>" not in page
    assert large.get("/?columns=nonsense").status_code == 422
    default = "".join(f"&columns={name}" for name in DEFAULT_COLUMNS)
    assert "columns=" not in links(large.get(f"/?page=1{default}").text)["Next"]


def test_published_is_beside_measured_where_something_was_published(large: TestClient) -> None:
    assert re.search(r"95 % interval</th>\s*<th[^>]*>published %", large.get("/").text)
    (row,) = large.get("/leaderboard.json?match=m0009").json()
    assert row["claimed_robust_accuracy"] == 0.5
    assert row["flags"] == ["robust_accuracy_mismatch"]
    assert row["rank"] is None


@pytest.mark.parametrize("query", ["", "?source=robustbench&sort=-gap&page=3", "?flagged=randomized", "?match=none"])
def test_downloads_are_all_rows_that_match(large: TestClient, query: str) -> None:
    as_json = large.get(f"/leaderboard.json{query}")
    answer = large.get(f"/leaderboard.csv{query}")
    assert 'filename="leaderboard.csv"' in answer.headers["content-disposition"]
    table = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["model"] for row in table] == [row["model"] for row in as_json.json()]
    assert [row["rank"] for row in table] == [str(row["rank"] or "") for row in as_json.json()]
    shown = rows(large.get(f"/{query}").text)
    assert set(shown) <= {(str(row["rank"] or "–"), row["model"]) for row in as_json.json()}
    assert len(table) == {"": 1000, "?match=none": 0, "?flagged=randomized": 100}.get(query, 250)


@pytest.mark.parametrize(
    ("query", "name", "error"),
    [
        ("eps=much", "eps", "expected a number such as 0.03 or 8/255, got &#39;much&#39;"),
        ("since=yesterday", "since", "expected a date or time"),
        ("until=2026-13-01", "until", "expected a date or time"),
    ],
)  # fmt: skip
def test_an_error_stands_at_its_field(large: TestClient, query: str, name: str, error: str) -> None:
    answer = large.get(f"/?{query}&match=m00")
    assert answer.status_code == 422
    assert f'id="{name}-error">{error}' in answer.text
    assert 'value="m00"' in answer.text


@pytest.mark.parametrize("query", ["eps=much", "since=yesterday", "setting=quick%2C+mnist"])
def test_no_download_ignores_what_it_cannot_read(large: TestClient, query: str) -> None:
    for suffix in ("csv", "json"):
        answer = large.get(f"/leaderboard.{suffix}?{query}")
        assert answer.status_code == 422
        assert query.partition("=")[0] in answer.text


def test_an_empty_download_has_its_header(large: TestClient) -> None:
    everything, nothing = (large.get(f"/leaderboard.csv{query}").text for query in ("", "?match=nothing"))
    assert nothing == everything[: everything.index("\n") + 1]
    assert nothing.startswith("rank,id,")


def test_a_board_without_attacks_is_sorted_by_score() -> None:
    for name, score in (("low", 0.1), ("none", None), ("high", 0.9), ("middle", 0.5)):
        screened(name, score)
    screened("flagged", 0.95, flags=("zero_gradients",))
    server, order = client(), ["high", "middle", "low", "none", "flagged"]
    page = server.get("/").text
    assert re.findall(r'href="/audits/\d+">demo:(\w+)<', page) == order
    assert "have no ranks: they are sorted by their screening score" in page
    assert [row["model"] for row in server.get("/leaderboard.json").json()] == [f"demo:{name}" for name in order]
    assert {row["rank"] for row in server.get("/leaderboard.json").json()} == {None}
    upwards = server.get("/?sort=screen_score").text
    assert re.findall(r'href="/audits/\d+">demo:(\w+)<', upwards) == ["low", "middle", "high", "flagged", "none"]
    boards = build_boards(list_results(open_database(settings().database_url), Filter()))
    assert [place.row.model for place in boards[0].places] == [f"demo:{name}" for name in order]


@pytest.mark.long
@pytest.mark.parametrize(("method", "name"), [("bounds", "certified"), ("smoothing", "smoothed certified")])
def test_a_certificate_on_another_page_decides_the_columns(method: str, name: str) -> None:
    for number in range(50):
        audited(f"better-{number}", 90)
    certificate = (add_bounds if method == "bounds" else add_smoothing)(random_verdicts(n=100))
    audited("worst", 10, certificate=certificate)
    for page in (1, 2):
        heads = re.findall(r"<th[^>]*>(.*?)</th>", client().get(f"/?page={page}").text, re.S)
        shown = [re.sub("<[^>]*>", "", head).strip() for head in heads]
        assert [one for one in shown if one.startswith(name) and "certified" in one] != [], (page, shown)


def test_a_board_that_does_not_exist_is_named(large: TestClient) -> None:
    answer = large.get("/", params={"setting": "quick, mnist"})
    assert answer.status_code == 422
    assert 'id="setting-error">there is no result under &#39;quick, mnist&#39;' in answer.text
    assert len(rows(answer.text)) == 50


def test_unknown_parameters_and_orders_are_refused(large: TestClient) -> None:
    assert "did you mean norm?" in large.get("/?norms=L2").text
    assert large.get("/?sort=-nothing").status_code == 422


@pytest.mark.long
def test_a_failure_does_not_remove_an_older_result() -> None:
    audited("fine", 50)
    store = Store(open_database(settings().database_url))
    for name in ("fine", "other"):
        _, (job,) = store.create_scan("demo", REQUEST | {"samples": 100}, [entry(name)])
        assert store.fail(job.audit_id, store.claim(job.audit_id), f"no weights of {name}")
    page = client().get("/").text
    assert rows(page) == [("1", "demo:fine")]
    assert "2 models whose newest audit failed" in page
    assert '<a href="/audits/3">demo:other</a>: no weights of other' in page
    page = client().get("/?match=oth").text
    assert "1 model whose newest audit failed" in page
    assert "None of the 1 results of this board matches" in page


def test_settings_whose_texts_are_equal_are_two_boards() -> None:
    first, second = (("quick", "cifar10", "Linf", eps, 100, "remove", None, None) for eps in (0.03, 0.03 + 1e-9))
    named = name_boards([first, second])
    assert list(named.values()) == [first, second]
    strong = ("standard", *first[1:])
    assert order_boards({first: 3, second: 7, strong: 3}) == [second, strong, first]


@pytest.fixture
def page() -> Iterator[Page]:
    """A page without scripts, of a server whose models have long names."""
    engine = open_database(settings().database_url)
    fill_zoo(engine, models=240, nights=1, long_names=True)
    command = [sys.executable, "-m", "auditor", "serve", "--port", "0", "--rate", "100000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ.copy()) as process:
        assert process.stderr is not None
        with sync_playwright() as playwright:
            browser: Browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            address = process.stderr.readline().strip().rstrip("/")
            yield browser.new_context(java_script_enabled=False, base_url=address).new_page()
            browser.close()
        process.terminate()


@pytest.mark.long
def test_long_names_leave_room_for_flags_and_phones(page: Page) -> None:
    page.set_viewport_size({"width": 1440, "height": 900})
    page.goto("/?flagged=true")
    table = page.locator(".board-table")
    assert table.evaluate("one => one.scrollWidth - one.clientWidth") <= 0
    box = page.locator("td.flags a").first.bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= 1440
    page.goto("/")
    head = table.locator("thead th").nth(2)
    before = head.bounding_box()
    table.evaluate("one => one.scrollBy(0, 400)")
    assert head.bounding_box() == before
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    page.get_by_role("button", name="Menu").click()
    expect(page.get_by_role("link", name="Zoo plot")).to_be_visible()
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.goto("/?flagged=true&columns=gap&columns=flags")
        page.locator("summary").first.click()
        found = page.context.browser.new_context(color_scheme=scheme).new_page()  # axe is a script
        found.goto(page.url)
        violations = Axe().run(found).response["violations"]
        assert [one["id"] for one in violations if one["impact"] in ("serious", "critical")] == []


@pytest.mark.long
def test_checked_rows_lead_to_their_comparison(page: Page) -> None:
    page.goto("/")
    boxes = page.locator('input[name="model"]')
    boxes.nth(0).check()
    boxes.nth(2).check()
    chosen = [boxes.nth(number).get_attribute("value") for number in (0, 2)]
    page.get_by_role("button", name="Compare the selected").click()
    address = urlsplit(page.url)
    assert address.path == "/compare"
    assert parse_qs(address.query)["model"] == chosen
