"""The code of the documentation: fenced and indented blocks, inline code, and the commands in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
AT_THE_ROOT = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
GENERATED = ("cli.md", "api.md")
PAGES = [ROOT / name for name in AT_THE_ROOT] + sorted((ROOT / "docs").glob("*.md"))

FENCE = re.compile(
    r"^(?P<margin> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=margin)``` *$", re.MULTILINE | re.DOTALL
)
INDENTED = re.compile(r"(?:^|\n\n)((?: {4}[^\n]*\n|\n(?= {4}))+)")
INLINE = re.compile(r"(?<!`)`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")
COMMENT = re.compile(r"(?<![^\s])#.*")
COMMAND = re.compile(r"(?<![\w:./=@'-])(?:[\w./-]*/)?auditor (?=[a-z<-])")
END = re.compile(r"[|&;<>()]+")  # what ends a command in a shell
ALTERNATIVES = re.compile(r"(?<=\s)[\w-]+(?:\|[\w-]+)+")


@dataclass(frozen=True)
class Block:
    """A block of code on a page; ``line`` is its first, from 1. The language is empty for an indented block,
    ``output`` for a fenced one that names none, and ``inline`` for code in a sentence."""

    page: Path
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page.name}:{self.line}"

    @property
    def first_line(self) -> str:
        return next((line.strip() for line in self.text.splitlines() if line.strip()), "")


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text()
    for found in FENCE.finditer(text):
        margin = found["margin"]
        lines = [line.removeprefix(margin) for line in found["text"].splitlines(keepends=True)]
        yield Block(page, line_of(text, found.start("text")), found["language"] or "output", "".join(lines))
    prose = without_fences(text)
    for found in INDENTED.finditer(prose):
        lines = [line.removeprefix("    ") for line in found[1].splitlines(keepends=True)]
        yield Block(page, line_of(prose, found.start(1)), "", "".join(lines))


def inline(page: Path) -> Iterator[Block]:
    text = page.read_text()
    prose = INDENTED.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), without_fences(text))
    for found in INLINE.finditer(prose):
        yield Block(page, line_of(prose, found.start(1)), "inline", " ".join(found[1].split()))


def commands(block: Block) -> Iterator[list[str]]:
    """The words after ``auditor`` of each command in the block; alternatives such as ``list|show`` are all given."""
    if block.language == "output" or "─►" in block.text:  # a drawing
        return
    for line in COMMENT.sub("", block.text.replace("\\\n", " ")).splitlines():
        if line.lstrip().startswith(("kubectl ", "entry: ")):  # an object or a hook whose name is auditor's
            continue
        for found in COMMAND.finditer(line):
            rest = line[found.end() :]
            for text in expanded(f" {rest}") if block.language == "inline" else (rest,):
                yield words(text)


def expanded(text: str) -> Iterator[str]:
    found = ALTERNATIVES.search(text)
    if found is None:
        yield text
        return
    for choice in found[0].split("|"):
        yield from expanded(text[: found.start()] + choice + text[found.end() :])


def words(text: str) -> list[str]:
    """Up to the end of the command, columns of explanation after two spaces do not belong to it."""
    text = re.split(r" {2,}", text.strip())[0]
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    found: list[str] = []
    try:
        for word in lexer:
            if END.fullmatch(word):
                break
            found.append(word)
    except ValueError:  # an apostrophe of prose behind the command
        return text.split()
    return found


def without_fences(text: str) -> str:
    return FENCE.sub(lambda found: "\n" * found[0].count("\n"), text)


def line_of(text: str, place: int) -> int:
    return text.count("\n", 0, place) + 1


def table(page: Path, heading: str) -> list[list[str]]:
    """The rows of the first table under a heading, without its head; code marks are removed."""
    section = page.read_text().partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip().strip("`") for cell in row.strip("|").split(" | ")] for row in rows[2:]]
