"""Completion in bash and zsh, by the scripts that docs/completion.md has people source."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from auditor.cli import main
from auditor.cli.complete import complete_result, matching
from auditor.config import settings
from tests.factories.audits import audited

DOCS = (Path(__file__).parents[2] / "docs" / "completion.md").read_text()
ENV = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}

BASH = """
{source}
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
_auditor_completion auditor
printf '%s\\n' "${{COMPREPLY[@]}}"
"""

CASES = [
    (["auditor", "res"], ["results"]),
    (["auditor", "results", "sh"], ["show"]),
    (["auditor", "scan", "de"], ["demo"]),
    (["auditor", "scan", "demo", "--model", "trades-eps0.1"], ["trades-eps0.10"]),
    (["auditor", "scan", "demo", "--protocol", "st"], ["standard", "strong"]),
    (["auditor", "results", "show", "m"], ["m1", "m2"]),
]


def source_line(shell: str) -> str:
    """The line that the documentation tells people to put into their shell's file."""
    return re.search(rf"^    (eval .*{shell}_source.*)$", DOCS, re.MULTILINE)[1]


@pytest.mark.long
@pytest.mark.parametrize(("words", "expected"), CASES, ids=[" ".join(words) for words, _ in CASES])
def test_bash(words: list[str], expected: list[str]) -> None:
    if words[1] == "results":
        audited("m1", 10)
        audited("m2", 20)
    script = BASH.format(source=source_line("bash"), words=" ".join(words))
    done = subprocess.run(["bash", "-c", script], env=os.environ | ENV, check=True, capture_output=True, text=True)
    assert sorted(done.stdout.split()) == expected, done.stderr


@pytest.mark.long
def test_zsh_on_a_terminal(tmp_path: Path) -> None:
    """Types the beginning of a command and Tab."""
    assert shutil.which("zsh"), "install Debian's package zsh"
    (tmp_path / ".zshrc").write_text(
        f"PS1='> '\nautoload -Uz compinit && compinit -u -D\n{source_line('zsh')}\necho ready\n"
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe("zsh", ["zsh", "-i"], os.environ | ENV | {"ZDOTDIR": str(tmp_path), "TERM": "dumb"})
    shown = wait_for(terminal, b"ready")
    os.write(terminal, b"auditor checkp\t")
    shown = wait_for(terminal, b"checkpoints")
    os.write(terminal, b"\x15auditor scan demo --model demo:trades-eps0.1\t")
    shown += wait_for(terminal, b"trades-eps0.10")
    os.write(terminal, b"\x15exit\n")
    wait_for(terminal, None)
    os.waitpid(pid, 0)
    assert b"demo:trades-eps0.10" in shown.replace(b"\\", b"")


def wait_for(terminal: int, text: bytes | None) -> bytes:
    """What a terminal shows until the text appears; for None until it is closed."""
    shown = b""
    while (text is None or text not in shown) and select.select([terminal], [], [], 60)[0]:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
    assert text is None or text in shown, shown
    return shown


@pytest.mark.parametrize(
    ("incomplete", "expected"),
    [
        ("", ["demo:a", "demo:b", "timm:a"]),
        ("demo", ["demo:a", "demo:b"]),
        ("demo:b", ["demo:b"]),
        ("a", ["a"]),
        ("z", []),
    ],
)
def test_names_that_match(incomplete: str, expected: list[str]) -> None:
    assert matching(["demo:a", "demo:b", "timm:a"], incomplete) == expected


def test_a_database_that_does_not_answer_completes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDITOR_DATABASE_URL", "sqlite:////proc/nothing.db")
    settings.cache_clear()
    assert complete_result(click.Context(main), main.params[0], "m") == []
