"""The site builds without a warning, needs no network, and finds what people search for, opened from a disk."""

import re
from pathlib import Path
from types import ModuleType

import pytest
from playwright.sync_api import Browser, expect

from tests import api_reference
from tests.docs.blocks import PAGES, ROOT
from tests.factories.browser import launched
from tests.factories.tools import load_tool

INDEX = (ROOT / "docs" / "index.md").read_text()


@pytest.fixture(scope="module")
def site() -> ModuleType:
    return load_tool("site")


@pytest.fixture(scope="module")
def html(site: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return site.build_site(tmp_path_factory.mktemp("site"))


@pytest.mark.long
def test_the_reference_of_the_api_is_current() -> None:
    assert (ROOT / "docs" / "api.md").read_text() == api_reference.reference(), "run `make docs`"


@pytest.mark.parametrize("page", [page for page in PAGES if page.name != "index.md"], ids=lambda page: page.name)
def test_every_page_is_in_the_index(page: Path) -> None:
    link = f"{page.name}" if page.parent.name == "docs" else f"../{page.name}"
    assert f"]({link})" in INDEX, "docs/index.md makes the navigation of the site: add the page to one of its tables"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_anchors_lead_somewhere(page: Path) -> None:
    prose = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        path, _, anchor = target.partition("#")
        if "://" in path:
            continue
        file = (page.parent / path).resolve() if path else page
        assert file.is_file(), target
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file), target


def anchors(page: Path) -> set[str]:
    """The headings of a page as hosts of repositories, and the site, name them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    plain = [re.sub(r"\[([^\]]*)\]\([^)]*\)|[`*]", r"\1", heading).strip().lower() for heading in headings]
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading)) for heading in plain}


@pytest.mark.long
def test_the_site_builds_without_a_warning_and_has_every_page(html: Path) -> None:
    for page in PAGES:
        name = page.name.lower() if page.parent == ROOT else page.name
        assert (html / name).with_suffix(".html").is_file(), name
    for notebook in (ROOT / "examples" / "notebooks").glob("*.ipynb"):
        assert (html / "notebooks" / f"{notebook.stem}.html").is_file()
    assert "auditor.attacks.evaluate_robustness" in (html / "python-api.html").read_text()


@pytest.mark.long
def test_pages_opened_from_a_disk_ask_no_host_and_search(html: Path) -> None:
    with launched() as browser:
        open_and_search(html, browser)


def open_and_search(html: Path, browser: Browser) -> None:
    page = browser.new_page()
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((html / "index.html").as_uri())
    page.keyboard.press("/")
    page.keyboard.type("effective rank")
    expect(page.get_by_text("Effective rank").first).to_be_visible(timeout=20_000)
    assert not errors
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:", "about:"))] == []


@pytest.mark.long
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[x](nothing.md)", "nothing.md is no file"),
        ("[x](index.md#nothing)", "anchor does not exist"),
        ('<img src="https://example.com/x.png">', "loads https://example.com/x.png"),
        ('<a href="nothing.html">x</a>', "nothing.html"),
    ],
)
def test_a_broken_page_ends_the_build(
    site: ModuleType, text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "tree"
    (root / "docs" / "site").mkdir(parents=True)
    config = (ROOT / "docs" / "site" / "zensical.toml").read_text()
    (root / "docs" / "site" / "zensical.toml").write_text(
        re.sub(r"\[project\.plugins\.mkdocstrings.*?\n(?=\[project\.markdown)", "", config, flags=re.DOTALL)
    )
    (root / "docs" / "site" / "iframe-worker.js").write_text("")
    (root / "docs" / "index.md").write_text(f"# Index\n\n{text}\n\n## Start\n\n[index](other.md)\n")
    (root / "docs" / "other.md").write_text("# Other\n")
    monkeypatch.setattr(site, "ROOT", root)
    monkeypatch.setattr(site, "NOTEBOOKS", root / "notebooks")
    monkeypatch.setattr(site, "AT_THE_ROOT", ())
    with pytest.raises(SystemExit, match=re.escape(message)):
        site.build_site(tmp_path / "built")
