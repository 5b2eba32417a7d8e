"""The only module that imports robustbench: it silences its output and runs its loader on checked files.

Loading patches functions of torch, timm and robustbench and restores them afterwards, so a process must load one
model at a time, never from two threads.
"""

import contextlib
import importlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from auditor.errors import ModelLoadError, first_line
from auditor.torch_state import set_eval
from auditor.zoo.robustbench.catalogue import Row
from auditor.zoo.robustbench.strict import check_finite, strictly
from auditor.zoo.weights import read_content

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Send robustbench's output to the debug log, and ignore its warnings."""
    output = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(output):
        warnings.simplefilter("ignore")
        yield
    for line in output.getvalue().splitlines():
        logger.debug("robustbench: %s", line)


def _import_robustbench() -> ModuleType:
    """``robustbench.utils``, which imports ``autoattack`` although its package depends on pyautoattack."""
    with quiet():
        needs_alias = "autoattack" not in sys.modules and importlib.util.find_spec("autoattack") is None
        if needs_alias:
            sys.modules["autoattack"] = importlib.import_module("pyautoattack")
        try:
            importlib.import_module("robustbench.data")
            return importlib.import_module("robustbench.utils")
        finally:
            if needs_alias:
                del sys.modules["autoattack"]


utils = _import_robustbench()


def load(row: Row, folder: Path, contents: Mapping[Path, Any]) -> tuple[nn.Module, list[str]]:
    """A model in eval mode with its weights, and notes on changes to it.

    Args:
        folder: RobustBench's model folder.
        contents: the contents of the model's files by path; the files must exist, because the loader checks for them.

    Raises:
        ModelLoadError: the model cannot be constructed, or the weights do not fit it.
    """
    notes: list[str] = []
    with quiet(), _patched(row.id, contents, notes):
        try:
            model: nn.Module = utils.load_model(row.name, folder, row.dataset, row.threat_model)
        except ModelLoadError:
            raise
        except Exception as error:  # other people's code
            what = f"{type(error).__name__}: {_state_dict_error(error) or first_line(error)}"
            raise ModelLoadError(f"RobustBench cannot load {row.id}: {what}") from error
    _replace_swish(model, notes)
    check_finite(model, row.id)
    return set_eval(model), list(dict.fromkeys(notes))


@contextlib.contextmanager
def _patched(model_id: str, contents: Mapping[Path, Any], notes: list[str]) -> Iterator[None]:
    """Patch the loader: it downloads nothing, reads only checked files, and accepts no missing keys."""

    def read(file: Any, *_: Any, **__: Any) -> Any:
        path = Path(file)
        return contents[path] if path in contents else read_content(path, name=str(path))

    def refuse(*arguments: Any, **named: Any) -> None:
        names = [str(value) for value in (*arguments, *named.values())]
        raise ModelLoadError(f"download failed: RobustBench needs a file that it does not list: {', '.join(names)}")

    def remove_prefix(state: Any, prefix: str) -> Any:
        count = sum(prefix in key for key in state)
        if count and prefix == "module.":
            notes.append("the prefix 'module.' of parallel training was removed from the checkpoint's keys")
        stripped = strip(state, prefix)
        if len(stripped) < len(state):
            raise ModelLoadError(
                f"{model_id}: the checkpoint has keys both with and without the prefix {prefix!r}, which is ambiguous"
            )
        return stripped

    def stay_on_cpu(tensor: Tensor, *_: Any, **__: Any) -> Tensor:
        notes.append("its constructor asks for a GPU; it ran on the CPU, before the model moves to the audit's device")
        return tensor

    strip = utils.rm_substr_from_state_dict
    patches = [
        (torch, "load", read),
        (torch.hub, "download_url_to_file", refuse),
        (importlib.import_module("timm.models._hub"), "download_url_to_file", refuse),
        (importlib.import_module("timm.models._hub"), "hf_hub_download", refuse),
        (utils.gdown, "download", refuse),
        (utils, "download_gdrive", refuse),
        (utils, "download_gdrive_new", refuse),
        (utils, "rm_substr_from_state_dict", remove_prefix),
        (Tensor, "cuda", stay_on_cpu),
        (utils, "_safe_load_state_dict", strictly(utils._safe_load_state_dict)),
    ]
    with contextlib.ExitStack() as stack:
        for owner, name, new in patches:
            stack.enter_context(mock.patch.object(owner, name, new))
        yield


def _replace_swish(model: nn.Module, notes: list[str]) -> None:
    """Replace RobustBench's Swish, which hides its derivative from the linearization, by the equal SiLU of torch."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child).__name__ == "Swish" and type(child).__module__.startswith("robustbench."):
                setattr(module, name, nn.SiLU())
                notes.append("RobustBench's own Swish was replaced by torch's SiLU, the same function")


def _state_dict_error(error: Exception) -> str:
    """Torch's message about a state dict that does not fit, in one line; empty for other errors."""
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(lines[:3])[:300] if lines and "state_dict" in lines[0] else ""
