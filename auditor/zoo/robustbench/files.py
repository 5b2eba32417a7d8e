"""The weight files of RobustBench's models: their paths in its model folder, and their addresses."""

from pathlib import Path

from auditor.errors import ModelLoadError
from auditor.zoo.robustbench.catalogue import Row
from auditor.zoo.weight_files import WeightFile, hub_weight_file

DRIVE = "https://drive.usercontent.google.com/download?id={id}&export=download&confirm=t"
DRIVE_PAGE = "https://drive.google.com/file/d/{id}"


def files_of(row: Row, folder: Path) -> list[WeightFile]:
    """All files of a model, in RobustBench's layout; files with an address are in torch's hub cache.

    Raises:
        ModelLoadError: RobustBench names no address for them.
    """
    if row.url:
        return [hub_weight_file(row.url)]
    subfolder = folder / row.dataset / row.threat_model
    names = [f"{row.name}.pt_m{i}.pt" for i in range(len(row.gdrive))] if row.ensemble else [f"{row.name}.pt"]
    if not row.gdrive:
        raise ModelLoadError(f"RobustBench names no address for the weights of {row.id}")
    return [
        WeightFile(subfolder / name, DRIVE.format(id=drive), DRIVE_PAGE.format(id=drive))
        for name, drive in zip(names, row.gdrive, strict=True)
    ]
