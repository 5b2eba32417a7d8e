"""Sending a handed-out folder to the Hugging Face hub."""

from pathlib import Path

from auditor.checkpoints.layout import NAMES
from auditor.errors import EnvironmentUnusableError, UsageError, first_line


def push(folder: Path, repo: str, *, private: bool = False, dry_run: bool = False) -> list[str]:
    """Send the folder's weights, config.json and README.md to the repository ``OWNER/NAME``, made where there is none.

    The hub's own settings hold: HF_TOKEN or ``hf auth login``, HF_ENDPOINT, HF_HUB_OFFLINE.

    Args:
        private: of a repository that is made; one that is there stays as it is.
        dry_run: send nothing, ask nobody.

    Returns:
        What was done, or would be, a line each.

    Raises:
        UsageError: ``repo`` is no name of a repository, or a file is missing.
        EnvironmentUnusableError: huggingface_hub is not installed, or the hub did not take it.
    """
    check_repo(repo)
    missing = [name for name in NAMES if not (folder / name).is_file()]
    if missing:
        raise UsageError(f"expected {', '.join(NAMES)} in {folder}, {missing[0]} is missing")
    if dry_run:
        kind = "private" if private else "public"
        sent = [f"would send {folder / name} ({(folder / name).stat().st_size:,} bytes)" for name in NAMES]
        return [f"would make the {kind} repository {repo} at {_endpoint()}, if there is none", *sent]
    return [f"sent to {_send(folder, repo, private)}"]


def check_repo(repo: str) -> None:
    """Whether the hub would take the name; asks nobody.

    Raises:
        UsageError: it is not ``OWNER/NAME``.
        EnvironmentUnusableError: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
    except ImportError as error:
        raise EnvironmentUnusableError("huggingface_hub is not installed: pip install 'auditor[zoos]'") from error
    try:
        validate_repo_id(repo)
    except HFValidationError as error:
        raise UsageError(f"expected a repository as OWNER/NAME, got {repo!r}: {first_line(error)}") from error
    if repo.count("/") != 1:
        raise UsageError(f"expected a repository as OWNER/NAME, got {repo!r}")


def _endpoint() -> str:
    from huggingface_hub import constants

    return str(constants.ENDPOINT)


def _send(folder: Path, repo: str, private: bool) -> str:
    import httpx
    from huggingface_hub import HfApi

    api = HfApi()
    try:
        address = api.create_repo(repo, private=private, exist_ok=True)
        words = f"Checkpoint of auditor: {', '.join(NAMES)}"
        api.upload_folder(repo_id=repo, folder_path=folder, allow_patterns=list(NAMES), commit_message=words)
    except (OSError, ValueError, httpx.HTTPError) as error:
        raise EnvironmentUnusableError(f"the hub did not take {repo}: {first_line(error)}") from error
    return str(address)
