"""The digest of a folder's own Python: whatever the code imports from the folder changes it, and nothing else."""

from pathlib import Path

import pytest

from auditor.user_code.digest import code_digest

FILES = {
    "net.py": "import layers\nfrom pkg.blocks import Block\nimport torch\n",
    "layers.py": "SIZE = 1\n",
    "pkg/__init__.py": "",
    "pkg/blocks.py": "from .scale import SCALE\nfrom . import shift\nfrom ..far import FAR\n",
    "pkg/scale.py": "SCALE = 1\n",
    "pkg/shift.py": "from pkg.deep.er import ER\n",
    "pkg/deep/er.py": "ER = 1\n",
    "far.py": "FAR = 1\n",
    "other.py": "import net\n",
    "torch/__init__.py": "",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(("name", "counts"), [(name, name != "other.py") for name in FILES])
def test_what_is_imported_from_the_folder_counts(name: str, counts: bool, folder: Path) -> None:
    before = code_digest(folder, folder / "net.py")
    (folder / name).write_text(FILES[name] + "# changed\n")
    assert (code_digest(folder, folder / "net.py") != before) == counts


def test_imports_in_a_circle_and_above_the_folder_end(folder: Path) -> None:
    (folder / "layers.py").write_text("import net\nfrom ........ import nothing\n")
    assert len(code_digest(folder, folder / "net.py")) == 64
