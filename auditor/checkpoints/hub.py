"""Upload an exported checkpoint to the Hugging Face hub."""

from pathlib import Path

from auditor.checkpoints.export import NAMES
from auditor.errors import EnvironmentUnusableError, UsageError, first_line


def push(folder: Path, repo: str, *, private: bool = False, dry_run: bool = False) -> list[str]:
    """Upload the folder's weights, config.json and README.md to the repository ``OWNER/NAME``; create it if needed.

    The hub's settings apply: HF_TOKEN or ``hf auth login``, HF_ENDPOINT, HF_HUB_OFFLINE.

    Args:
        private: create a private repository; an existing repository stays as it is.
        dry_run: only describe the upload; no request is sent.

    Returns:
        What was done, or would be done, one line for each step.

    Raises:
        UsageError: ``repo`` is not a valid name, or a file is missing.
        EnvironmentUnusableError: huggingface_hub is not installed, or the upload failed.
    """
    check_repo(repo)
    missing = [name for name in NAMES if not (folder / name).is_file()]
    if missing:
        raise UsageError(f"expected {', '.join(NAMES)} in {folder}, {missing[0]} is missing")
    if dry_run:
        kind = "private" if private else "public"
        sent = [f"would upload {folder / name} ({(folder / name).stat().st_size:,} bytes)" for name in NAMES]
        return [f"would create the {kind} repository {repo} at {_endpoint()}, if it does not exist", *sent]
    return [f"uploaded to {_send(folder, repo, private)}"]


def check_repo(repo: str) -> None:
    """Check the name of a repository, without a request to the hub.

    Raises:
        UsageError: it is not ``OWNER/NAME``.
        EnvironmentUnusableError: huggingface_hub is not installed.
    """
    try:
        from huggingface_hub.errors import HFValidationError
        from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]
    except ImportError as error:
        raise EnvironmentUnusableError(
            "huggingface_hub is not installed: pip install 'huggingface-hub>=0.36,<2'"
        ) from error
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
        raise EnvironmentUnusableError(f"the upload to {repo} failed: {first_line(error)}") from error
    return str(address)
