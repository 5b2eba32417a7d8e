"""ImageNet's pictures: RobustBench's list, in its order, with its preprocessing."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from auditor.config import settings
from auditor.data import CLASSES, check_images, imagenet, installed, load_images
from auditor.errors import DataError, UsageError
from auditor.records import Transform
from tests.data import layouts

RES256_CROP224 = Transform(resize=256, crop=(224, 224))


@pytest.fixture(scope="module")
def listed() -> list[str]:
    """The list as the robustbench package has it."""
    try:
        file = installed.package_file("robustbench", "helper_files/imagenet_test_image_ids.txt")
    except DataError as error:
        pytest.skip(str(error))
    return file.read_text().split("\n")


def _pictures(root: Path, names: list[str]) -> list[Image.Image]:
    """Pictures under ImageNet's names, of several sizes; grey ones are among ImageNet's, too."""
    made = []
    for number, name in enumerate(names):
        picture = Image.fromarray(layouts.random_pixels(250 + 20 * number, 300, 3, seed=number))
        picture = picture.convert("L") if number == 0 else picture
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(root / name, "PNG")  # so that nothing is lost, whatever the name says
        made.append(picture.convert("RGB"))
    return made


@pytest.mark.parametrize("inside", ["", "val", "imagenet", "imagenet/val"])
@pytest.mark.parametrize("given", [True, False], ids=["with --data", "in the data folder"])
def test_the_first_of_the_list(
    inside: str, given: bool, listed: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures = _pictures(tmp_path / inside, listed[:3])
    monkeypatch.setenv("AUDITOR_DATA", str(tmp_path))
    settings.cache_clear()
    found = load_images("imagenet", 3, tmp_path if given else None, transform=RES256_CROP224)
    steps = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()])
    assert np.array_equal(found.images, torch.stack([steps(picture) for picture in pictures]).numpy())
    synsets = sorted({*imagenet.SYNSETS})
    assert found.labels.tolist() == [synsets.index(name.split("/")[0]) for name in listed[:3]]
    assert found.indices.tolist() == [0, 1, 2]
    with pytest.raises(DataError, match="expected pictures of one size"):
        load_images("imagenet", 3, tmp_path)


def test_grey_pictures_alone_are_rgb_as_well(listed: list[str], tmp_path: Path) -> None:
    _pictures(tmp_path, listed[:1])
    assert load_images("imagenet", 1, tmp_path, transform=RES256_CROP224).images.shape == (1, 3, 224, 224)


def _numbered(name: str) -> str:
    synset, file = name.split("/")
    return f"{imagenet.SYNSETS.index(synset)}/{file}"


def _named(name: str) -> str:
    synset, file = name.split("/")
    return f"{imagenet.CLASSES[imagenet.SYNSETS.index(synset)]}/{file}"


@pytest.mark.parametrize("naming", [_numbered, _named])
def test_folders_may_be_named_otherwise(naming, listed: list[str], tmp_path: Path) -> None:
    _pictures(tmp_path, [naming(name) for name in listed[:5]])
    check_images("imagenet", 5, tmp_path)


def test_checking_opens_no_picture(listed: list[str], tmp_path: Path) -> None:
    for name in listed:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    check_images("imagenet", None, tmp_path)
    with pytest.raises(UsageError, match="imagenet has 5000 test images, 5001 were requested"):
        check_images("imagenet", 5001, tmp_path)
    with pytest.raises(DataError, match="cannot read the picture"):
        load_images("imagenet", 1, tmp_path, transform=RES256_CROP224)
    (tmp_path / listed[7]).unlink()
    (tmp_path / listed[4000]).unlink()
    check_images("imagenet", 7, tmp_path)
    with pytest.raises(DataError, match=f"2 of the first 5000 pictures .*, the first is {listed[7]}"):
        check_images("imagenet", None, tmp_path)


def test_an_npz_file(tmp_path: Path) -> None:
    pixels = layouts.random_pixels(2, 30, 30, 3)
    np.savez(tmp_path / "i.npz", images=pixels, labels=[999, 0])
    found = load_images("imagenet", None, tmp_path / "i.npz", transform=Transform(crop=(24, 24)))
    assert np.array_equal(found.images, pixels[:, 3:27, 3:27].transpose(0, 3, 1, 2).astype(np.float32) / 255)
    assert found.labels.tolist() == [999, 0]


def test_what_there_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"expected a folder of ImageNet's validation pictures, .* no folder"):
        check_images("imagenet", 5, tmp_path)
    monkeypatch.setenv("AUDITOR_DATA", str(tmp_path))
    settings.cache_clear()
    with pytest.raises(DataError, match=r"ImageNet cannot be downloaded and is not in .*: pass --data PATH"):
        check_images("imagenet", 5)


def test_without_robustbench_there_is_no_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "n01440764").mkdir()
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(DataError, match=r"robustbench is not installed, .*pip install 'auditor\[zoos\]'"):
        check_images("imagenet", 5, tmp_path)


def test_the_lists_labels_are_ours(listed: list[str]) -> None:
    names, labels = imagenet.robustbench_list()
    assert list(names) == listed
    assert [imagenet.SYNSETS[label] for label in labels] == [name.split("/")[0] for name in listed]


def test_the_classes_are_in_the_order_that_torchvision_knows() -> None:
    from torchvision.models._meta import _IMAGENET_CATEGORIES as KNOWN

    ours = CLASSES["imagenet"]
    assert len(ours) == len(set(ours)) == len(KNOWN) == 1000
    same = sum(one.casefold() == other.casefold() for one, other in zip(ours, KNOWN, strict=True))
    assert same > 950
    assert (ours[281], ours[517], ours[134], ours[999]) == (
        "tabby", "crane (lifting device)", "crane (wading bird)", "toilet tissue",
    )  # fmt: skip


def test_two_models_that_want_other_sizes_see_the_same_pictures(listed: list[str], tmp_path: Path) -> None:
    _pictures(tmp_path, listed[:3])
    small, large = (load_images("imagenet", 3, tmp_path, transform=Transform(resize=(size, size))) for size in (32, 48))
    assert small.digest != large.digest
    assert small.pictures.tolist() == large.pictures.tolist()
    assert len(set(small.pictures.tolist())) == 3
