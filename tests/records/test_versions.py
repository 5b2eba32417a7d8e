"""The versions of libraries in a record: always those that compute, and those that make the network."""

from importlib.metadata import PackageNotFoundError, version

import pytest

from auditor.records import versions as module
from auditor.records.versions import versions

ALWAYS = {"auditor", "torch", "numpy", "scipy", "pyautoattack"}


@pytest.mark.parametrize(
    ("architecture", "makers"),
    [
        ({"name": "small_resnet"}, set()),
        ({"torchvision": "resnet18"}, set()),
        ({"timm": "resnet18", "version": "1.0.9"}, {"timm"}),
        ({"robustbench": "cifar10/Linf/A", "version": "1.1.1"}, {"robustbench", "timm"}),
    ],
)
def test_the_libraries_that_make_a_network_are_named(architecture: dict[str, str], makers: set[str]) -> None:
    found = versions(architecture)
    assert found == {name: version(name) for name in ALWAYS | makers}


def test_what_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def without_timm(name: str) -> str:
        if name == "timm":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(module, "version", without_timm)
    assert versions({"timm": "resnet18"}).keys() == ALWAYS
