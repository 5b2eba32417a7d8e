"""Builds the documentation's site: ``make site`` writes build/site/html and fails at any warning.

Zensical builds it, because it is the kept successor of Material for MkDocs, by the same authors, and its strict mode
checks links and anchors. Its input is staged below build/site: the pages of docs/, those at the root of the tree,
the notebooks as Markdown, and each source file that a page links to.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = ROOT / "examples" / "notebooks"
AT_THE_ROOT = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
LINK = re.compile(r"(?<=\]\()([^)\s]+)(?=\))")
FENCE = re.compile(r"^( *)(```+)[^\n]*\n.*?^\1\2 *$", re.MULTILINE | re.DOTALL)
HIGHLIGHT = {".py": "python", ".toml": "toml", ".json": "json", ".yaml": "yaml", ".yml": "yaml", ".sh": "bash"}
EXTERNAL = ("http", "https", "mailto")


def build_site(folder: Path) -> Path:
    """Stage, build and check the site below ``folder``; returns the folder of its pages.

    Raises:
        SystemExit: the build has a warning, a link leads nowhere, or a page would load something from another host.
    """
    shutil.rmtree(folder, ignore_errors=True)
    stage = Stage(folder / "docs")
    stage.write()
    config = (ROOT / "docs" / "site" / "zensical.toml").read_text().replace("ROOT", str(ROOT))
    (folder / "zensical.toml").write_text(
        config.replace("[project.theme]", f"nav = {navigation()}\n\n[project.theme]", 1)
    )
    command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", str(folder / "zensical.toml")]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    output = done.stdout + done.stderr
    if done.returncode or "griffe: " in output:  # griffe's warnings about docstrings do not end a strict build
        raise SystemExit(output.replace("Aborted because --strict flag is set", "").strip())
    problems = sorted({*broken_links(folder / "html"), *foreign_requests(folder / "html")})
    if problems:
        raise SystemExit("\n".join(problems))
    return folder / "html"


class Stage:
    """The pages as Zensical reads them, with links that stay inside the site."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sources: set[Path] = set()

    def write(self) -> None:
        for file in sorted((ROOT / "docs").rglob("*")):
            if file.is_file() and file.suffix != ".md" and file.name != "zensical.toml":
                self.copy(file, self.place(file))
        for file in pages():
            self.write_page(file)
        for file in sorted(NOTEBOOKS.glob("*.ipynb")):
            self.write_notebook(file)
        for file in sorted(self.sources):
            self.write_source(file)

    def place(self, file: Path) -> Path:
        """Where a file of the tree is staged."""
        if file.is_relative_to(ROOT / "docs"):
            return self.folder / file.relative_to(ROOT / "docs")
        if file.suffix == ".ipynb":
            return self.folder / "notebooks" / f"{file.stem}.md"
        if file.parent == ROOT and file.name in AT_THE_ROOT:
            return self.folder / file.name.lower()
        inside = self.folder / "source" / file.relative_to(ROOT)
        return inside.with_name(f"{inside.name}.md") if readable(file) else inside

    def write_page(self, file: Path) -> None:
        place = self.place(file)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(self.with_links_inside(file.read_text(), file, place))

    def with_links_inside(self, text: str, file: Path, place: Path) -> str:
        def lead_inside(link: re.Match[str]) -> str:
            path, mark, anchor = link[0].partition("#")
            if not path or "://" in path or path.startswith("mailto:"):
                return link[0]
            target = (file.parent / path).resolve()
            if not target.is_file():
                raise SystemExit(f"{file.relative_to(ROOT)}: {link[0]} is no file")
            if (
                not target.is_relative_to(ROOT / "docs")
                and target.suffix != ".ipynb"
                and target.name not in AT_THE_ROOT
            ):
                self.sources.add(target)
            return os.path.relpath(self.place(target), place.parent) + mark + anchor

        parts, end = [], 0
        for block in FENCE.finditer(text):
            parts += [LINK.sub(lead_inside, text[end : block.start()]), block[0]]
            end = block.end()
        return "".join([*parts, LINK.sub(lead_inside, text[end:])])

    def write_notebook(self, file: Path) -> None:
        from nbconvert import MarkdownExporter  # type: ignore[import-not-found,unused-ignore]

        place = self.place(file)
        place.parent.mkdir(parents=True, exist_ok=True)
        text, resources = MarkdownExporter().from_filename(
            str(file), {"output_files_dir": f"{file.stem}_files", "unique_key": file.stem}
        )
        place.write_text(self.with_links_inside_notebook(text, file, place))
        for name, content in resources["outputs"].items():
            picture = place.parent / name
            picture.parent.mkdir(parents=True, exist_ok=True)
            picture.write_bytes(content)

    def with_links_inside_notebook(self, text: str, file: Path, place: Path) -> str:
        """As for pages; nbconvert's own pictures stay as they are."""
        kept = f"({file.stem}_files/"
        text = text.replace(kept, "(://")
        return self.with_links_inside(text, file, place).replace("(://", kept)

    def write_source(self, file: Path) -> None:
        place = self.place(file)
        if not readable(file):
            self.copy(file, place)
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        name = file.relative_to(ROOT)
        place.write_text(f"# {name}\n\n`````{HIGHLIGHT.get(file.suffix, 'text')}\n{file.read_text()}\n`````\n")

    def copy(self, file: Path, place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, place)


def readable(file: Path) -> bool:
    """Whether a linked file is shown as a page."""
    return file.suffix in HIGHLIGHT or not file.suffix


def pages() -> list[Path]:
    """Every Markdown page of the documentation."""
    return sorted([*(ROOT / "docs").glob("*.md"), *(ROOT / name for name in AT_THE_ROOT)])


def navigation() -> str:
    """The sections of docs/index.md with their links, as the value of ``nav`` in TOML."""
    index = (ROOT / "docs" / "index.md").read_text()
    sections = []
    for section in re.split(r"^## ", index, flags=re.MULTILINE)[1:]:
        heading, _, text = section.partition("\n")
        entries, known = [], set()
        for link in LINK.findall(text):
            target = (ROOT / "docs" / link.partition("#")[0]).resolve()
            if "://" in link or target in known:
                continue
            known.add(target)
            entries.append(f'{{ "{title(target)}" = "{Stage(Path()).place(target)}" }}')
        sections.append(f'{{ "{heading}" = [{", ".join(entries)}] }}')
    return f'[{{ "Home" = "index.md" }}, {", ".join(sections)}]'


def title(file: Path) -> str:
    """The first heading of a page or notebook."""
    found = re.search(r'^(?: *")?# ([^\n"\\]+)', file.read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit(f"{file.relative_to(ROOT)} has no heading")
    return found[1].replace("`", "").strip()


class Page(HTMLParser):
    """The links, anchors and loaded files of one built page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.anchors: set[str] = set()
        self.feed(file.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag == "link" and given.get("rel") not in ("canonical", "alternate"):
            self.loads.append(given.get("href", ""))
        elif "src" in given:
            self.loads.append(given["src"])


def broken_links(html: Path) -> Iterator[str]:
    """Each link or loaded file of a built page that leads to no file or no anchor of the site."""
    found = {file.resolve(): Page(file) for file in html.rglob("*.html") if file.name != "404.html"}
    for file, page in found.items():
        for link in page.links + page.loads:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            where = f"{file.relative_to(html.resolve())}: {link}"
            if not target.exists():
                yield f"{where} leads to no file"
            elif parts.fragment and target in found and unquote(parts.fragment) not in found[target].anchors | {"__"}:
                yield f"{where} leads to no anchor"


def foreign_requests(html: Path) -> Iterator[str]:
    """Each thing that a page or stylesheet would load from another host."""
    for file in html.rglob("*.html"):
        for load in Page(file).loads:
            if urlsplit(load).scheme in EXTERNAL or load.startswith("//"):
                yield f"{file.relative_to(html)} loads {load}"
    for file in html.rglob("*.css"):
        for load in re.findall(r"url\(\s*[\"']?((?:https?:)?//[^\"')]*)", file.read_text()):
            yield f"{file.relative_to(html)} loads {load}"


if __name__ == "__main__":
    sys.stdout.write(f"{build_site(ROOT / 'build' / 'site') / 'index.html'}\n")
