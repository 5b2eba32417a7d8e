"""Networks to linearize: one of every architecture family of timm and of every architecture class of RobustBench."""

import contextlib
import functools
import importlib
import re
from collections.abc import Callable, Iterator

import torch
from torch import nn

CLASSES = 4
Built = tuple[nn.Module, tuple[int, int, int]]
Case = tuple[str, str, Callable[[], Built]]

SIZES = (
    "test", "atto", "femto", "pico", "nano", "zepto", "xxsmall", "xsmall", "xxs", "xs", "tiny", "mini", "micro", "t",
    "n", "s", "small", "slim", "lite", "p", "m", "medium", "mediumd", "b", "base", "plus", "l", "large", "big", "xl",
    "xlarge", "huge", "h", "giant", "g", "gigantic", "enormous",
)  # fmt: skip
"""Words of timm's names that say how large a model is, from the smallest."""

ROBUSTBENCH = (
    "cifar10/Linf/Andriushchenko2020Understanding", "cifar10/Linf/Standard", "cifar10/Linf/Hendrycks2019Using",
    "cifar10/Linf/Rice2020Overfitting", "cifar10/Linf/Engstrom2019Robustness", "cifar10/Linf/Chen2020Adversarial",
    "cifar10/Linf/Pang2020Boosting", "cifar10/Linf/Wong2020Fast", "cifar10/Linf/Ding2020MMA",
    "cifar10/Linf/Gowal2020Uncovering_28_10_extra", "cifar10/Linf/Sehwag2021Proxy_R18",
    "cifar10/Linf/Sehwag2021Proxy_ResNest152", "cifar10/Linf/Chen2020Efficient",
    "cifar10/Linf/Rebuffi2021Fixing_R18_ddpm", "cifar10/Linf/Huang2021Exploring",
    "cifar10/Linf/Dai2021Parameterizing", "cifar10/Linf/Kang2021Stable", "cifar10/Linf/Debenedetti2022Light_XCiT-S12",
    "cifar10/Linf/Huang2022Revisiting_WRN-A4", "cifar10/Linf/Wang2023Better_WRN-28-10",
    "cifar10/Linf/Bai2023Improving_edm", "cifar10/Linf/Peng2023Robust",
    "cifar10/Linf/Amini2024MeanSparse_Ra_WRN_70_16", "cifar10/Linf/Amini2024MeanSparse_S-WRN-94-16",
    "cifar10/Linf/Bai2024MixedNUTS", "cifar10/L2/Augustin2020Adversarial", "cifar10/L2/Rice2020Overfitting",
    "cifar10/L2/Rony2019Decoupling", "cifar10/L2/Augustin2020Adversarial_34_10",
    "cifar10/L2/Amini2024MeanSparse_S-WRN-70-16", "cifar10/corruptions/Diffenderfer2021Winning_LRR",
    "cifar10/corruptions/Diffenderfer2021Winning_LRR_CARD_Deck", "cifar10/corruptions/Diffenderfer2021Winning_Binary",
    "cifar10/corruptions/Diffenderfer2021Winning_Binary_CARD_Deck", "cifar10/corruptions/Hendrycks2020AugMix_WRN",
    "cifar10/corruptions/Hendrycks2020AugMix_ResNeXt", "cifar10/corruptions/Kireev2021Effectiveness_Gauss50percent",
    "cifar10/corruptions/Modas2021PRIMEResNet18", "cifar100/Linf/Chen2020Efficient",
    "cifar100/Linf/Wu2020Adversarial", "cifar100/Linf/Hendrycks2019Using", "cifar100/Linf/Rice2020Overfitting",
    "cifar100/Linf/Debenedetti2022Light_XCiT-S12", "cifar100/Linf/Bai2023Improving_trades",
    "cifar100/Linf/Bai2024MixedNUTS", "cifar100/corruptions/Diffenderfer2021Winning_LRR",
    "cifar100/corruptions/Diffenderfer2021Winning_LRR_CARD_Deck",
    "cifar100/corruptions/Diffenderfer2021Winning_Binary_CARD_Deck", "cifar100/corruptions/Hendrycks2020AugMix_WRN",
    "cifar100/corruptions/Hendrycks2020AugMix_ResNeXt", "cifar100/corruptions/Modas2021PRIMEResNet18",
    "imagenet/Linf/Salman2020Do_R18", "imagenet/Linf/Debenedetti2022Light_XCiT-S12", "imagenet/Linf/Peng2023Robust",
    "imagenet/Linf/Chen2024Data_WRN_50_2", "imagenet/Linf/Mo2022When_ViT-B", "imagenet/Linf/Mo2022When_Swin-B",
    "imagenet/Linf/Liu2023Comprehensive_ConvNeXt-B", "imagenet/Linf/Liu2023Comprehensive_Swin-B",
    "imagenet/Linf/Singh2023Revisiting_ConvNeXt-T-ConvStem", "imagenet/Linf/Singh2023Revisiting_ViT-S-ConvStem",
    "imagenet/Linf/Amini2024MeanSparse_ConvNeXt-L", "imagenet/Linf/Amini2024MeanSparse_Swin-L",
    "imagenet/Linf/Bai2024MixedNUTS", "imagenet/Linf/RodriguezMunoz2024Characterizing_Swin-B",
    "imagenet/Linf/Xu2024MIMIR_Swin-B", "imagenet/corruptions/AlexNet", "imagenet/corruptions/Tian2022Deeper_DeiT-S",
)  # fmt: skip
"""One entry of each architecture class, the smallest."""


def cases() -> Iterator[Case]:
    """Where it is from, its name, and how it is built with random weights."""
    for (module, _), name in families().items():
        yield f"timm.models.{module}", name, functools.partial(small, name)
    for name in ROBUSTBENCH:
        yield "robustbench", name, functools.partial(robustbench_model, name)


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
    ranks = [SIZES.index(word) for word in name.split("_") if word in SIZES]
    return min(ranks, default=len(SIZES) // 2), [int(number) for number in re.findall(r"\d+", name)]


def small(name: str) -> Built:
    """An architecture of timm with four classes, on the smallest input that it takes."""
    import timm

    config = timm.get_pretrained_cfg(name)
    native = config.input_size[1] if config else 224
    for side in (96, 128, 192, 224, native):
        for arguments in ({"img_size": side}, {}):
            with contextlib.suppress(Exception):  # a size too small for this architecture
                model = timm.create_model(name, num_classes=CLASSES, **arguments).eval()
                with torch.no_grad():
                    model(torch.zeros(1, 3, side, side))
                return model, (3, side, side)
    return timm.create_model(name, num_classes=CLASSES), (3, native, native)


class FirstLogits(nn.Module):
    """A network's first logits: enough rows of W to see that it is one."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x)[:, :CLASSES]


def robustbench_model(name: str) -> Built:
    """An entry of RobustBench, as its own constructor or timm makes it; of 100 classes or more, the first logits."""
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
    adapter._replace_swish(model, [])
    side = 224 if dataset == "imagenet" else 32
    return (model if dataset == "cifar10" else FirstLogits(model)), (3, side, side)


def perturb(model: nn.Module, seed: int = 0) -> nn.Module:
    """Noise on every weight (what is zero at initialisation hides mistakes), and batch norm as training leaves it."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (tensor for tensor in model.parameters() if tensor.is_floating_point()):
            tensor.add_(0.02 * torch.randn(tensor.shape, generator=generator))
        for module in model.modules():
            if getattr(module, "running_mean", None) is not None:
                module.running_mean.copy_(0.1 * torch.randn(module.running_mean.shape, generator=generator))
                module.running_var.copy_(0.5 + torch.rand(module.running_var.shape, generator=generator))
    return model.eval()
