"""Sending to the hub: a dry run asks nobody, and what the hub says no to is one line."""

import socket
from pathlib import Path
from typing import Any

import httpx
import huggingface_hub
import pytest
from huggingface_hub.errors import LocalTokenNotFoundError

from auditor.checkpoints import check_repo, push
from auditor.errors import EnvironmentUnusableError, UsageError

NAMES = ("model.safetensors", "config.json", "README.md")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in NAMES:
        (tmp_path / name).write_text("12345")
    return tmp_path


class Hub:
    """What was asked of it; fails with what ``error`` is."""

    error: Exception | None = None

    def __init__(self) -> None:
        self.asked: list[tuple[str, Any, dict[str, Any]]] = []

    def create_repo(self, repo_id: str, **options: Any) -> str:
        self.asked.append(("create", repo_id, options))
        return f"https://hub/{repo_id}"

    def upload_folder(self, **options: Any) -> None:
        if self.error:
            raise self.error
        self.asked.append(("upload", options["repo_id"], options))


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    one = Hub()
    monkeypatch.setattr(huggingface_hub, "HfApi", lambda: one)
    return one


def test_a_dry_run_says_what_would_be_sent_and_opens_no_connection(
    folder: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refused)
    first, *rest = push(folder, "someone/robust", private=True, dry_run=True)
    assert first.startswith("would create the private repository someone/robust at http")
    assert rest == [f"would upload {folder / name} (5 bytes)" for name in NAMES]
    assert hub.asked == []


def test_it_sends_the_three_files_and_no_other(folder: Path, hub: Hub) -> None:
    (folder / "model.safetensors.1.part").write_text("half")
    assert push(folder, "someone/robust", private=True) == ["uploaded to https://hub/someone/robust"]
    (_, repo, made), (_, _, sent) = hub.asked
    assert (repo, made) == ("someone/robust", {"private": True, "exist_ok": True})
    assert (sent["folder_path"], sent["allow_patterns"]) == (folder, list(NAMES))


@pytest.mark.parametrize(
    "error",
    [
        httpx.ConnectError("no way\nto the hub"),
        LocalTokenNotFoundError("Token is required\nlog in"),
        OSError("no way"),
        ValueError("no"),
    ],
)
def test_what_the_hub_refuses_is_one_line(folder: Path, hub: Hub, error: Exception) -> None:
    hub.error = error
    with pytest.raises(EnvironmentUnusableError, match=r"^the upload to someone/robust failed: ") as caught:
        push(folder, "someone/robust")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("repo", ["robust", "a/b/c", "some one/robust", "", "someone/-robust", "someone/r--x"])
def test_names_that_are_no_repositorys(repo: str) -> None:
    with pytest.raises(UsageError, match="expected a repository as OWNER/NAME, got") as caught:
        check_repo(repo)
    assert "\n" not in str(caught.value)


def test_a_folder_that_is_not_whole(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(UsageError, match=r"config\.json is missing"):
        push(folder, "someone/robust", dry_run=True)
