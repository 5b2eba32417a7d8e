"""A Hugging Face hub cache, filled by the test as a download would fill it."""

import shutil
from collections.abc import Sequence
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


def save_vit(folder: Path, labels: Sequence[str] = ("cat", "dog", "newt"), **config: object) -> Path:
    """Save a small ViT of transformers with random weights, and its image processor, as a snapshot; its folder."""
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

    settings = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    shape = {"image_size": 32, "patch_size": 8, "id2label": dict(enumerate(labels))}
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = ViTForImageClassification(ViTConfig(**{**settings, **shape, **config}))
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.05 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    size = {"height": model.config.image_size, "width": model.config.image_size}
    ViTImageProcessorPil(size=size, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4]).save_pretrained(folder)
    return folder


def save_timm(folder: Path, labels: Sequence[str] = ()) -> nn.Module:
    """Save a small network of timm as its helper for the hub does; the network."""
    from timm.models._hub import save_for_hf

    with torch.random.fork_rng():
        torch.manual_seed(4)
        model = timm.create_model("test_vit", num_classes=len(labels) or 10).eval()
    more = {"label_names": list(labels)} if labels else {}
    save_for_hf(model, folder, model_config=more, safe_serialization="both")
    return model


def put_into_cache(
    hub: Path, repository: str, folder: Path, revision: str = REVISION, ref: str | None = "main"
) -> Path:
    """Copy a snapshot to where a download would put it, as ``ref``; its folder in the cache."""
    target = hub / f"models--{repository.replace('/', '--')}"
    snapshot = target / "snapshots" / revision
    shutil.copytree(folder, snapshot)
    if ref is not None:
        (target / "refs").mkdir(exist_ok=True)
        (target / "refs" / ref).write_text(revision)
    return snapshot
