"""Folders that options name, checked before a command that may take hours."""

from pathlib import Path


def prepare_folder(option: str, folder: Path) -> None:
    """Make the folder into which an option's files are written. Raises UsageError if it cannot be written into."""
    import tempfile

    from auditor.errors import UsageError

    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"{option}: cannot write into {folder}: {error.strerror}; name another folder") from error
