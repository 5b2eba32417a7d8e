"""A Hugging Face hub cache, filled by the test as a download would fill it."""

from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from torch import nn

REVISION = "0" * 40


def fill_hub(hub: Path, name: str) -> nn.Module:
    """Write perturbed weights to where the pretrained ones of ``name`` would be; return the network."""
    generator = torch.Generator().manual_seed(7)
    model = timm.create_model(name.partition(".")[0]).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=generator))
    repository = hub / f"models--{timm.get_pretrained_cfg(name).hf_hub_id.replace('/', '--')}"
    snapshot = repository / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(REVISION)
    save_file(model.state_dict(), snapshot / "model.safetensors")
    return model


def weights_file(hub: Path, name: str) -> Path:
    return next(hub.glob(f"models--*{name}*/snapshots/*/model.safetensors"))
