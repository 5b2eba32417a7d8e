"""What linearizes: every architecture family of timm and every architecture of RobustBench, one line each.

    python benchmarks/coverage.py [--store coverage.jsonl] [--match GLOB] [--shard 1/2] [--write docs/coverage.md]

Each network has random weights, all of them perturbed by noise (zero-initialised layers hide mistakes), and its batch
norm has random statistics. It runs in float64, once with batch norm removed and, where it has any, once with it folded.
Results go to the store as they come, and what is there is not done again; `--write` makes the documentation's page.
"""

import argparse
import contextlib
import functools
import gc
import importlib
import json
import re
import time
import warnings
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from torch import nn

from auditor.errors import LinearizationError, first_line
from auditor.linear import template_gram

LIMIT = 1e-8
CLASSES = 4
SIZES = (
    "test atto femto pico zepto nano xxsmall xsmall xxs xs tiny mini micro t n s small slim lite p m medium mediumd "
    "b base plus l large big xl xlarge huge h giant g gigantic enormous"
).split()


def families() -> dict[tuple[str, str], str]:
    """The smallest architecture, by name, of each family: (timm's module, the name without sizes and numbers)."""
    import timm
    from timm.models._registry import _model_to_module

    found: dict[tuple[str, str], list[str]] = {}
    for name in timm.list_models():
        words = [re.sub(r"\d+", "", word) for word in name.split("_")]
        kept = [word for word in words if word not in SIZES and not re.fullmatch(r"(patch|window|r|rw)|.?", word)]
        found.setdefault((_model_to_module[name], " ".join(kept)), []).append(name)
    return {family: min(names, key=_size) for family, names in found.items()}


def _size(name: str) -> tuple[int, list[int]]:
    """Orders a family's names by what they say of their sizes."""
    words = name.split("_")
    ranks = [SIZES.index(word) for word in words if word in SIZES]
    return min(ranks, default=len(SIZES) // 2), [int(number) for number in re.findall(r"\d+", name)]


def timm_cases() -> Iterator[tuple[str, str, Callable[[], tuple[nn.Module, tuple[int, int, int]]]]]:
    import timm

    for (module, _), name in families().items():
        yield f"timm.models.{module}", name, functools.partial(small, name)


def small(name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    """An architecture of timm with four classes, and the smallest input that it takes: whole, but no larger than need be."""
    import timm

    config = timm.get_pretrained_cfg(name)
    native = config.input_size[1] if config else 224
    for side in (96, 128, 192, 224, native):
        for arguments in ({"img_size": side}, {}):
            with contextlib.suppress(Exception):  # one size too small for this architecture
                model = timm.create_model(name, num_classes=CLASSES, **arguments).eval()
                with torch.no_grad():
                    model(torch.zeros(1, 3, side, side))
                return model, (3, side, side)
    return timm.create_model(name, num_classes=CLASSES), (3, native, native)


def perturb(model: nn.Module, seed: int = 0) -> nn.Module:
    """Noise on every weight, and batch-norm statistics as training would leave them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.add_(0.02 * torch.randn(tensor.shape, generator=generator))
        for module in model.modules():
            if getattr(module, "running_mean", None) is not None:
                module.running_mean.copy_(0.1 * torch.randn(module.running_mean.shape, generator=generator))
                module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator))
    return model.eval()


def has_batch_norm(model: nn.Module) -> bool:
    return any(getattr(module, "running_mean", None) is not None for module in model.modules())


def examine(model: nn.Module, size: tuple[int, int, int], batch_norm: Any) -> dict[str, Any]:
    """Affinity error, norm of W and seconds; or the reason why there is none."""
    started = time.perf_counter()
    try:
        found = template_gram(model, size, batch_norm=batch_norm, double=True)
    except LinearizationError as error:
        return {"reason": str(error), "seconds": time.perf_counter() - started}
    norm = found.gram.diagonal().sum().sqrt().item()
    return {"error": found.affinity_error, "norm": norm, "seconds": time.perf_counter() - started}


def measure(module: str, name: str, build: Callable[[], tuple[nn.Module, tuple[int, int, int]]]) -> dict[str, Any]:
    row: dict[str, Any] = {"family": module, "model": name}
    torch.manual_seed(0)
    try:
        model, size = build()
    except Exception as error:
        return row | {"unbuilt": f"{type(error).__name__}: {first_line(error)}"}
    perturb(model)
    row |= {"size": size, "parameters": sum(tensor.numel() for tensor in model.parameters())}
    row["remove"] = examine(model, size, "remove")
    if has_batch_norm(model):
        row["fold"] = examine(model, size, "fold")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=Path("coverage.jsonl"))
    parser.add_argument("--match", default="*")
    parser.add_argument("--shard", default="1/1")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--family", default="*")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    warnings.simplefilter("ignore")
    part, parts = map(int, options.shard.split("/"))
    done = {json.loads(line)["model"] for line in options.store.open()} if options.store.exists() else set()
    for number, (module, name, build) in enumerate(timm_cases()):
        if number % parts != part - 1 or name in done or not fnmatchcase(name, options.match) or not fnmatchcase(module, options.family):
            continue
        row = measure(module, name, build)
        with options.store.open("a") as store:
            store.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
        gc.collect()


if __name__ == "__main__":
    main()
