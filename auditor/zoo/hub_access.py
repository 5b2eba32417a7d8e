"""The Hugging Face hub: its cache alone, or a hub that answers; its own client waits for most of a minute."""

import contextlib
from collections.abc import Iterator

from auditor.errors import ModelLoadError, first_line
from auditor.zoo.download import CONNECT, check_host


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Let the hub answer only from its cache."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def check_hub_reachable(repository: str) -> None:
    """Fail at once if a repository that is not in the cache cannot be downloaded.

    Raises:
        ModelLoadError: HF_HUB_OFFLINE is set, or the hub does not answer.
    """
    import httpx
    from huggingface_hub import constants

    url = f"{constants.ENDPOINT}/{repository}"
    absent = f"download failed: {url} is not in the cache {constants.HF_HUB_CACHE}"
    if constants.HF_HUB_OFFLINE:
        raise ModelLoadError(f"{absent}, and HF_HUB_OFFLINE is set")
    try:
        check_host(url)
        httpx.head(url, timeout=httpx.Timeout(3, connect=CONNECT), follow_redirects=True)
    except (httpx.HTTPError, ModelLoadError) as error:
        raise ModelLoadError(f"{absent}, and cannot be reached: {first_line(error)}") from error
