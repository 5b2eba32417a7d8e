"""Real architectures of timm, one a kind of operation: affine in float64, W not 0, and nothing of the model changed.

All of them are in docs/coverage.md, made by benchmarks/coverage.py.
"""

import copy
import warnings

import pytest
import torch
from torch import nn

from auditor.linear import LinearizationError, template_gram

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import timm

SMALL = {"num_classes": 3}
SQUARE = {"img_size": 64, **SMALL}
ARCHITECTURES = {
    "resnet18": (SMALL, 32),  # the simple ones
    "vgg11_bn": (SMALL, 32),
    "tf_mobilenetv3_small_minimal_100": (SMALL, 32),
    "mobilenetv3_small_050": (SMALL, 32),  # hard sigmoids, squeeze and excite
    "nf_regnet_b0": (SMALL, 64),  # weight standardization, no normalization
    "regnetz_b16": (SMALL, 64),
    "resnetv2_50d_evos": (SMALL, 32),  # EvoNorm
    "resnetv2_50d_frn": (SMALL, 32),  # filter response norm
    "skresnet18": (SMALL, 32),  # selective kernels
    "resnest14d": (SMALL, 64),  # split attention
    "convnextv2_atto": (SMALL, 32),  # global response norm
    "coat_lite_tiny": (SQUARE, 64),  # factorized attention
    "convit_tiny": (SQUARE, 64),  # constants in float32
    "efficientvit_b0": (SMALL, 64),  # linear attention
    "eva02_tiny_patch14_224": ({"img_size": 56, **SMALL}, 56),  # SwiGLU, rotary positions
    "focalnet_tiny_srf": (SMALL, 64),
    "gmixer_12_224": (SQUARE, 64),  # a gated MLP
    "gmlp_ti16_224": (SQUARE, 64),  # a spatial gate
    "hiera_tiny_224": ({"img_size": (64, 64), **SMALL}, 64),  # max over tokens
    "lambda_resnet26t": (SMALL, 64),
    "levit_128s": (SMALL, 224),
    "mobilevitv2_050": (SMALL, 64),  # separable attention
    "mvitv2_tiny": (SQUARE, 64),
    "poolformerv2_s12": (SMALL, 64),  # StarReLU
    "sequencer2d_s": (SQUARE, 64),  # LSTM
    "swin_tiny_patch4_window7_224": ({"img_size": 56, "window_size": 7, **SMALL}, 56),
    "swinv2_cr_tiny_ns_224": ({"img_size": 56, **SMALL}, 56),
    "vit_tiny_patch16_224": (SQUARE, 64),
    "volo_d1_224": (SQUARE, 64),  # outlook attention
    "xcit_nano_12_p16_224": (SMALL, 64),  # attention of channels
}


def perturbed(name: str) -> tuple[nn.Module, tuple[int, int, int]]:
    """The architecture with random weights, all of them with noise, and random batch-norm statistics."""
    arguments, side = ARCHITECTURES[name]
    torch.manual_seed(1)
    model = timm.create_model(name, **arguments)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return model.eval(), (3, side, side)


def traces(model: nn.Module) -> list[object]:
    """Modes and hooks of all modules, and which parameters want gradients or have some."""
    hooks = [(len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks)) for m in model.modules()]
    gradients = [(parameter.requires_grad, parameter.grad) for parameter in model.parameters()]
    return [[module.training for module in model.modules()], hooks, gradients]


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_affine_in_float64_and_the_model_is_as_it_was(name: str) -> None:
    model, size = perturbed(name)
    state, before = copy.deepcopy(model.state_dict()), traces(model)
    image = torch.rand(1, *size)
    with torch.no_grad():
        logits = model(image)
    has_batch_norm = any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    for batch_norm in ("remove", "fold") if has_batch_norm else ("remove",):
        found = template_gram(model, size, batch_norm=batch_norm, double=True)
        assert found.affinity_error < 1e-8
        assert found.norm > 0
    assert traces(model) == before
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    with torch.no_grad():
        assert torch.equal(model(image), logits)


@pytest.mark.filterwarnings("ignore")
def test_a_model_that_fails_midway_is_as_it_was() -> None:
    class Broken(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if x.requires_grad:
                raise AssertionError("not here")
            return x

    model, size = perturbed("resnet18")
    model.layer3[1].act2 = Broken()
    state, before = copy.deepcopy(model.state_dict()), traces(model)
    with torch.no_grad():
        logits = model(torch.ones(1, *size))
    with pytest.raises(LinearizationError, match="does not run: AssertionError: not here"):
        template_gram(model, size)
    assert traces(model) == before
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
    with torch.no_grad():
        assert torch.equal(model(torch.ones(1, *size)), logits)
