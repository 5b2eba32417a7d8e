"""One tiny model of each source whose networks come from other libraries or files, and pictures for them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from auditor.records import CustomData, Transform, ZooEntry
from auditor.zoo import Source, find_source
from auditor.zoo.local import LocalZoo
from tests.factories.graphs import write_onnx, write_program
from tests.factories.hub import save_timm, save_vit

CLASSES = ("oak", "elm", "rose", "lily")
LEVEL = ("tree", "tree", "flower", "flower")


def network() -> nn.Module:
    """``(N, 3, 8, 8)`` to four logits, with what an export freezes: batch norm and dropout."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = (nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
        model = nn.Sequential(*layers, nn.Dropout(0.1), nn.Linear(72, 4))
        model.train()(torch.rand(64, 3, 8, 8))  # statistics that are not those of a new layer
    return model.eval()


def pictures(folder: Path, name: str, seed: int, count: int, size: int) -> Path:
    """Each class has one bright quarter, plus noise."""
    generator = np.random.default_rng(seed)
    labels, half = np.arange(count) % 4, size // 2
    pixels = generator.integers(0, 120, (count, size, size, 3))
    for label in range(4):
        top, left = half * (label // 2), half * (label % 2)
        pixels[labels == label, top : top + half, left : left + half] += 100
    np.savez(folder / name, images=pixels.astype(np.uint8), labels=labels)
    return folder / name


def local(folder: Path, weights: str) -> tuple[Source, ZooEntry]:
    (folder / "zoo.toml").write_text(
        f'[datasets.garden]\npath = "{folder}/test.npz"\nclasses = {list(CLASSES)}\ninput_size = [3, 8, 8]\n'
        'superclasses = { tree = ["oak", "elm"], flower = ["rose", "lily"] }\n'
        f'[[models]]\nname = "net"\nweights = "{weights}"\ndataset = "garden"\nnorm = "Linf"\neps = 0.1\n'
        "mean = [0.5, 0.4, 0.3]\nstd = [0.5, 0.6, 0.7]\n"
    )
    zoo = LocalZoo(folder, trust_code=True)
    return zoo, zoo.entries()[0]


def onnx_folded(folder: Path) -> tuple[Source, ZooEntry]:
    write_onnx(network(), folder / "net.onnx")
    return local(folder, "net.onnx")


def onnx_kept(folder: Path) -> tuple[Source, ZooEntry]:
    write_onnx(network(), folder / "net.onnx", optimize=False)
    return local(folder, "net.onnx")


def program(folder: Path) -> tuple[Source, ZooEntry]:
    write_program(network(), folder / "net.pt2")
    return local(folder, "net.pt2")


def with_groups(entry: ZooEntry) -> ZooEntry:
    """The snapshot's entry with superclasses, as a known data set has them."""
    assert entry.own_data is not None
    return replace(entry, own_data=replace(entry.own_data, levels=(LEVEL,)))


def transformers(folder: Path) -> tuple[Source, ZooEntry]:
    zoo = find_source("hub", save_vit(folder / "vit", CLASSES, attention_probs_dropout_prob=0.1))
    return zoo, with_groups(zoo.entries()[0])


def timms_network(folder: Path) -> tuple[Source, ZooEntry]:
    save_timm(folder / "net", CLASSES)
    zoo = find_source("hub", folder / "net")
    return zoo, with_groups(zoo.entries()[0])


def torchvision(_: Path) -> tuple[Source, ZooEntry]:
    """Smaller pictures than ImageNet's, and its 1,000 logits."""
    zoo = find_source("torchvision")
    entry = next(one for one in zoo.entries() if one.model == "torchvision:shufflenet_v2_x0_5")
    names = tuple(map(str, range(1000)))
    own = CustomData(path=None, classes=names, levels=(tuple(str(number // 2) for number in range(1000)),))
    transform = Transform(resize=32, crop=(32, 32), interpolation="bilinear")
    return zoo, replace(entry, input_size=(3, 32, 32), transform=transform, own_data=own, dataset="garden")
