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


ROBUSTBENCH = """
cifar10/Linf/Andriushchenko2020Understanding cifar10/Linf/Standard cifar10/Linf/Hendrycks2019Using
cifar10/Linf/Rice2020Overfitting cifar10/Linf/Engstrom2019Robustness cifar10/Linf/Chen2020Adversarial
cifar10/Linf/Pang2020Boosting cifar10/Linf/Wong2020Fast cifar10/Linf/Ding2020MMA
cifar10/Linf/Gowal2020Uncovering_28_10_extra cifar10/Linf/Sehwag2021Proxy_R18 cifar10/Linf/Sehwag2021Proxy_ResNest152
cifar10/Linf/Chen2020Efficient cifar10/Linf/Rebuffi2021Fixing_R18_ddpm cifar10/Linf/Huang2021Exploring
cifar10/Linf/Dai2021Parameterizing cifar10/Linf/Kang2021Stable cifar10/Linf/Debenedetti2022Light_XCiT-S12
cifar10/Linf/Huang2022Revisiting_WRN-A4 cifar10/Linf/Wang2023Better_WRN-28-10 cifar10/Linf/Bai2023Improving_edm
cifar10/Linf/Peng2023Robust cifar10/Linf/Amini2024MeanSparse_Ra_WRN_70_16 cifar10/Linf/Amini2024MeanSparse_S-WRN-94-16
cifar10/Linf/Bai2024MixedNUTS cifar10/L2/Augustin2020Adversarial cifar10/L2/Rice2020Overfitting
cifar10/L2/Rony2019Decoupling cifar10/L2/Augustin2020Adversarial_34_10 cifar10/L2/Amini2024MeanSparse_S-WRN-70-16
cifar10/corruptions/Diffenderfer2021Winning_LRR cifar10/corruptions/Diffenderfer2021Winning_LRR_CARD_Deck
cifar10/corruptions/Diffenderfer2021Winning_Binary cifar10/corruptions/Diffenderfer2021Winning_Binary_CARD_Deck
cifar10/corruptions/Hendrycks2020AugMix_WRN cifar10/corruptions/Hendrycks2020AugMix_ResNeXt
cifar10/corruptions/Kireev2021Effectiveness_Gauss50percent cifar10/corruptions/Modas2021PRIMEResNet18
cifar100/Linf/Chen2020Efficient cifar100/Linf/Wu2020Adversarial cifar100/Linf/Hendrycks2019Using
cifar100/Linf/Rice2020Overfitting cifar100/Linf/Debenedetti2022Light_XCiT-S12 cifar100/Linf/Bai2023Improving_trades
cifar100/Linf/Bai2024MixedNUTS cifar100/corruptions/Diffenderfer2021Winning_LRR
cifar100/corruptions/Diffenderfer2021Winning_LRR_CARD_Deck cifar100/corruptions/Diffenderfer2021Winning_Binary_CARD_Deck
cifar100/corruptions/Hendrycks2020AugMix_WRN cifar100/corruptions/Hendrycks2020AugMix_ResNeXt
cifar100/corruptions/Modas2021PRIMEResNet18
imagenet/Linf/Salman2020Do_R18 imagenet/Linf/Debenedetti2022Light_XCiT-S12 imagenet/Linf/Peng2023Robust
imagenet/Linf/Chen2024Data_WRN_50_2 imagenet/Linf/Mo2022When_ViT-B imagenet/Linf/Mo2022When_Swin-B
imagenet/Linf/Liu2023Comprehensive_ConvNeXt-B imagenet/Linf/Liu2023Comprehensive_Swin-B
imagenet/Linf/Singh2023Revisiting_ConvNeXt-T-ConvStem imagenet/Linf/Singh2023Revisiting_ViT-S-ConvStem
imagenet/Linf/Amini2024MeanSparse_ConvNeXt-L imagenet/Linf/Amini2024MeanSparse_Swin-L imagenet/Linf/Bai2024MixedNUTS
imagenet/Linf/RodriguezMunoz2024Characterizing_Swin-B imagenet/Linf/Xu2024MIMIR_Swin-B
imagenet/corruptions/AlexNet imagenet/corruptions/Tian2022Deeper_DeiT-S
""".split()
"""One entry of each architecture class, the smallest."""


class FirstLogits(nn.Module):
    """A network's first logits: enough rows of W to see that it is one."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x)[:, :CLASSES]


def robustbench_model(name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    """An entry of RobustBench with random weights, as its own constructor or timm makes it."""
    from auditor.zoo.robustbench import adapter

    dataset, threat_model, short = name.split("/")
    registered = f"{short}_{dataset}_{threat_model}".lower().replace("-", "_")
    zoo = importlib.import_module("robustbench.model_zoo").model_dicts
    enums = importlib.import_module("robustbench.model_zoo.enums")
    with adapter.quiet(), adapter._patched(name, {}, []):
        if adapter.utils.timm.is_model(registered):
            model = adapter.utils.timm.create_model(registered)
        else:
            model = zoo[enums.BenchmarkDataset(dataset)][enums.ThreatModel(threat_model)][short]["model"]()
    adapter._mend_swish(model, [])
    side = 224 if dataset == "imagenet" else 32
    return (FirstLogits(model) if dataset != "cifar10" else model), (3, side, side)


def robustbench_cases() -> Iterator[tuple[str, str, Callable[[], tuple[nn.Module, tuple[int, int, int]]]]]:
    for name in ROBUSTBENCH:
        yield "robustbench", name, functools.partial(robustbench_model, name)


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
        for tensor in (tensor for tensor in model.parameters() if tensor.is_floating_point()):
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
    return {"error": found.affinity_error, "norm": found.norm, "seconds": time.perf_counter() - started}


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
    for number, (module, name, build) in enumerate((*timm_cases(), *robustbench_cases())):
        if number % parts != part - 1 or name in done or not fnmatchcase(name, options.match) or not fnmatchcase(module, options.family):
            continue
        row = measure(module, name, build)
        with options.store.open("a") as store:
            store.write(json.dumps(row) + "\n")
        print(json.dumps(row), flush=True)
        gc.collect()


if __name__ == "__main__":
    main()
