"""The one place that knows robustbench: importing it, quietly, and running its loader on checked files.

Loading patches functions of torch, timm and robustbench for its duration, and puts them back: one model at a time in
a process, never from two threads.
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
    """What robustbench prints goes to the debug log; it warns of its own old habits."""
    said = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(said):
        warnings.simplefilter("ignore")
        yield
    for line in said.getvalue().splitlines():
        logger.debug("robustbench: %s", line)


def _import_robustbench() -> ModuleType:
    """``robustbench.utils``, which imports ``autoattack`` although its package depends on pyautoattack."""
    with quiet():
        lent = "autoattack" not in sys.modules and importlib.util.find_spec("autoattack") is None
        if lent:
            sys.modules["autoattack"] = importlib.import_module("pyautoattack")
        try:
            importlib.import_module("robustbench.data")
            return importlib.import_module("robustbench.utils")
        finally:
            if lent:
                del sys.modules["autoattack"]


utils = _import_robustbench()


def load(row: Row, folder: Path, contents: Mapping[Path, Any]) -> tuple[nn.Module, list[str]]:
    """A model in eval mode with its weights, and what was mended on the way.

    Args:
        folder: RobustBench's model folder.
        contents: what is in the model's files, by path; they lie there, too, since the loader looks.

    Raises:
        ModelLoadError: it cannot be constructed, or the weights do not fit it.
    """
    notes: list[str] = []
    with quiet(), _patched(row.id, contents, notes):
        try:
            model: nn.Module = utils.load_model(row.name, folder, row.dataset, row.threat_model)
        except ModelLoadError:
            raise
        except Exception as error:  # other people's code
            what = f"{type(error).__name__}: {_odd_keys(error) or first_line(error)}"
            raise ModelLoadError(f"RobustBench cannot load {row.id}: {what}") from error
    _mend_swish(model, notes)
    check_finite(model, row.id)
    return set_eval(model), list(dict.fromkeys(notes))


@contextlib.contextmanager
def _patched(model_id: str, contents: Mapping[Path, Any], notes: list[str]) -> Iterator[None]:
    """Nothing is downloaded, nothing is read unchecked, no key goes missing unseen."""

    def read(file: Any, *_: Any, **__: Any) -> Any:
        path = Path(file)
        return contents[path] if path in contents else read_content(path, name=str(path))

    def refuse(*arguments: Any, **named: Any) -> None:
        wanted = [str(value) for value in (*arguments, *named.values())]
        raise ModelLoadError(f"download failed: RobustBench wants a file that it does not list: {', '.join(wanted)}")

    def without(state: Any, prefix: str) -> Any:
        hit = sum(prefix in key for key in state)
        if hit and prefix == "module.":
            notes.append("the prefix 'module.' of parallel training was taken off the checkpoint's keys")
        stripped = strip(state, prefix)
        if len(stripped) < len(state):
            raise ModelLoadError(
                f"{model_id}: it has keys both with and without the prefix {prefix!r}: which are meant?"
            )
        return stripped

    def stay(tensor: Tensor, *_: Any, **__: Any) -> Tensor:
        notes.append("its constructor wants a GPU and was given the CPU: the audit's device comes later")
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
        (utils, "rm_substr_from_state_dict", without),
        (Tensor, "cuda", stay),
        (utils, "_safe_load_state_dict", strictly(utils._safe_load_state_dict)),
    ]
    with contextlib.ExitStack() as stack:
        for owner, name, new in patches:
            stack.enter_context(mock.patch.object(owner, name, new))
        yield


def _mend_swish(model: nn.Module, notes: list[str]) -> None:
    """RobustBench's Swish hides its derivative from torch, and with it from the linearization: SiLU is the same."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child).__name__ == "Swish" and type(child).__module__.startswith("robustbench."):
                setattr(module, name, nn.SiLU())
                notes.append("RobustBench's own Swish was exchanged for torch's SiLU, the same function")


def _odd_keys(error: Exception) -> str:
    """The lines of torch's message about a state dict that does not fit, as one."""
    lines = [line.strip() for line in str(error).splitlines()]
    return " ".join(lines[:3])[:300] if lines and "state_dict" in lines[0] else ""
