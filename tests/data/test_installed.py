"""Files of packages: what is missing is named with the extra that installs it."""

from importlib import metadata, util
from typing import Any

import pytest
from packaging.requirements import Requirement

from auditor.data.installed import EXTRAS, package_file
from auditor.errors import DataError


@pytest.mark.parametrize("package", EXTRAS)
def test_a_missing_package_is_named_with_the_extra_that_installs_it(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(util, "find_spec", lambda _: None)
    with pytest.raises(DataError, match=f"{package} is not installed.*'auditor\\[{EXTRAS[package]}\\]'"):
        package_file(package, "file.txt")
    wanted = [Requirement(line) for line in metadata.requires("auditor") or ()]
    extras: list[Any] = [one for one in wanted if one.name == package and one.marker is not None]
    assert any(one.marker.evaluate({"extra": EXTRAS[package]}) for one in extras)


def test_a_missing_file_is_named_with_its_package() -> None:
    pytest.importorskip("timm")
    with pytest.raises(DataError, match=r"expected no-such.txt in the installed timm.*auditor\[timm\]"):
        package_file("timm", "no-such.txt")
