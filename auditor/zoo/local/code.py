"""Python code in a local zoo's folder, which runs only if the user trusts it."""

from pathlib import Path
from typing import Any

from torch import nn

from auditor.errors import ModelLoadError
from auditor.user_code import import_function, running


def build_network(folder: Path, file: Path, function: str, kwargs: dict[str, Any]) -> nn.Module:
    """Call a function of the folder's Python code and return its network. **Runs the folder's code.**

    The folder's modules can be imported only during the call, see :func:`auditor.user_code.running`.

    Raises:
        ModelLoadError: the code raised an error (the message names file and line), or returned no module.
    """
    called = f"{file.name}:{function}"
    with running(folder, called, ModelLoadError):
        result = import_function(file, function, ModelLoadError)(**kwargs)
    if not isinstance(result, nn.Module):
        raise ModelLoadError(f"{called} returned {type(result).__name__}, expected a torch.nn.Module")
    return result
