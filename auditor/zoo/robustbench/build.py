"""``python -m auditor.zoo.robustbench.build``: write the catalogue from the installed robustbench."""

import contextlib
import importlib
import json
from dataclasses import asdict
from importlib.metadata import version
from typing import Any
from unittest import mock

from auditor.errors import ModelLoadError
from auditor.records import Transform
from auditor.zoo.robustbench.adapter import quiet, utils
from auditor.zoo.robustbench.catalogue import FILE, Row


def main() -> None:
    """Write the catalogue with one model in each line."""
    lines = ",\n".join(json.dumps(asdict(row), ensure_ascii=False) for row in installed())
    FILE.write_text(f'{{"robustbench": "{version("robustbench")}", "models": [\n{lines}\n]}}\n', encoding="utf-8")


def installed() -> list[Row]:
    """The models of the installed robustbench in its order."""
    models = importlib.import_module("robustbench.model_zoo").model_dicts
    with quiet():
        return [
            _listed(dataset, threat_model, name, row)
            for dataset, threat_models in models.items()
            for threat_model, rows in threat_models.items()
            for name, row in rows.items()
        ]


def _listed(dataset: Any, threat_model: Any, name: str, row: dict[str, Any]) -> Row:
    timm = utils.timm
    drive = row["gdrive_id"]
    timm_name = f"{name}_{dataset.value}_{threat_model.value}".lower().replace("-", "_")
    registered = timm.is_model(timm_name)  # RobustBench's loader prefers timm's constructor
    values: dict[str, Any] = {
        "dataset": dataset.value,
        "threat_model": threat_model.value,
        "name": name,
        "preprocessing": "timm" if registered and dataset.value == "imagenet" else row.get("preprocessing"),
        "transform": _transform(dataset, threat_model, name),
    }
    if registered:
        return Row(**values, url=timm.get_pretrained_cfg(timm_name).url)
    if not drive:
        return Row(**values, url=_constructor_url(row["model"]))
    ids = tuple(drive) if isinstance(drive, list) else (drive,)
    return Row(**values, gdrive=ids, ensemble=isinstance(drive, list))


def _transform(dataset: Any, threat_model: Any, name: str) -> Transform | None:
    """RobustBench's torchvision transform as a record."""
    from torchvision import transforms

    preprocessing = importlib.import_module("robustbench.data").get_preprocessing
    steps = {type(step): step for step in preprocessing(dataset, threat_model, name, None).transforms}
    resize, crop = steps.pop(transforms.Resize, None), steps.pop(transforms.CenterCrop, None)
    if steps.keys() != {transforms.ToTensor}:
        raise ModelLoadError(f"robustbench: an unknown step in the preprocessing of {name}: {list(steps)}")
    if not resize and not crop:
        return None
    size = None if resize is None else resize.size if isinstance(resize.size, int) else tuple(resize.size)
    return Transform(
        resize=size,
        crop=tuple(crop.size) if crop else None,
        interpolation=resize.interpolation.value if resize else "bilinear",
    )


def _constructor_url(constructor: Any) -> str:
    """The address that a constructor would download its weights from."""
    addresses: list[str] = []

    def record_address(url: str, *_: Any, **__: Any) -> Any:
        addresses.append(url)
        raise InterruptedError

    with (
        mock.patch("torchvision.models._api.load_state_dict_from_url", record_address),
        contextlib.suppress(InterruptedError),
    ):
        constructor()
    return addresses[0]


if __name__ == "__main__":
    main()
