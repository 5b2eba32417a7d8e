"""RobustBench's real architectures, through its real loader, from checkpoints in the layouts that it knows."""

import argparse
import importlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from torch import Tensor, nn

from auditor.cli import main
from auditor.config import settings
from auditor.errors import ModelLoadError, UsageError
from auditor.records import Transform, ZooEntry
from auditor.zoo import select
from auditor.zoo.digest import state_dict_digest
from auditor.zoo.robustbench import RobustBenchZoo, catalogue, files

State = dict[str, Tensor]
R18 = "cifar10/Linf/Rebuffi2021Fixing_R18_ddpm"
SMALL = "cifar10/corruptions/Hendrycks2020AugMix_WRN"


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Nobody listens where downloads go, and torch's hub cache is empty; the large files do not outlive their test."""
    monkeypatch.setattr(files, "DRIVE", "http://127.0.0.1:1/{id}")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    yield
    for folder in ("models", "torch"):
        shutil.rmtree(tmp_path / folder, ignore_errors=True)


def entry_of(name: str) -> ZooEntry:
    return next(entry for entry in RobustBenchZoo().entries() if entry.model == f"robustbench:{name}")


def original(name: str, seed: int = 0) -> nn.Module:
    """The architecture as RobustBench's own constructor or timm makes it, every weight and statistic random."""
    from auditor.zoo.robustbench.adapter import quiet, utils

    dataset, threat_model, id_ = name.split("/")
    enums = importlib.import_module("robustbench.model_zoo.enums")
    torch.manual_seed(seed)
    with quiet():
        timm_name = f"{id_}_{dataset}_{threat_model}".lower().replace("-", "_")
        if utils.timm.is_model(timm_name):
            model = utils.timm.create_model(timm_name)
        else:
            models = utils.all_models[enums.BenchmarkDataset(dataset)][enums.ThreatModel(threat_model)]
            model = models[id_]["model"]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1 + 0.1 * torch.randn_like(parameter))
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
    return model.eval()


def plain(model: nn.Module) -> list[object]:
    return [model.state_dict()]


def parallel(model: nn.Module) -> list[object]:
    return [{"epoch": 3, "state_dict": {f"module.{key}": value for key, value in model.state_dict().items()}}]


def without_normalization(model: nn.Module) -> list[object]:
    return [{key: value for key, value in model.state_dict().items() if key not in ("mu", "sigma")}]


def last_and_best(model: nn.Module) -> list[object]:
    state = model.state_dict()
    names = {"model_preact_hl1.1.weight": "conv1.weight", "model_preact_hl1.2.bias": "layer1.0.bn1.bias"}
    return [{"best": {}, "last": state | {new: state[old] for new, old in names.items()}}]


def inner(model: nn.Module) -> list[object]:
    return [{"state_dict": model.model.state_dict()}]


def whole(model: nn.Module) -> list[object]:
    return [parallel(model)[0]["state_dict"]]


def inner_plain(model: nn.Module) -> list[object]:
    return [model.model.state_dict()]


def members(model: nn.Module) -> list[object]:
    return [{"state_dict": {f"module.{k}": v for k, v in member.state_dict().items()}} for member in model.models]


@dataclass(frozen=True)
class Published:
    """A model, the layout of its published checkpoint, and a word of each note that loading makes."""

    name: str
    layout: Callable[[nn.Module], list[object]]
    notes: tuple[str, ...] = ()


PUBLISHED = [
    Published(R18, plain, ("Swish",)),
    Published("cifar10/Linf/Addepalli2021Towards_RN18", parallel, ("'module.'",)),
    Published("cifar10/Linf/Andriushchenko2020Understanding", last_and_best),
    Published("cifar10/Linf/Wong2020Fast", without_normalization),
    Published("cifar10/Linf/Carmon2019Unlabeled", parallel, ("'module.'",)),
    Published("cifar10/Linf/Chen2020Adversarial", members, ("'module.'",)),
    Published("cifar10/Linf/Debenedetti2022Light_XCiT-S12", inner_plain),
    Published(SMALL, without_normalization),
    Published("imagenet/Linf/Salman2020Do_R18", inner),
    Published("imagenet/Linf/Salman2020Do_R18", whole, ("'module.'",)),
    Published("imagenet/corruptions/Tian2022Deeper_DeiT-S", inner_plain),
]


def put(name: str, contents: list[object], folder: Path) -> list[Path]:
    """Write a model's files where RobustBench has them."""
    row = next(row for row in catalogue.read()[1] if row.id == name)
    places = [file.path for file in files.files_of(row, folder)]
    for path, content in zip(places, contents, strict=True):
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(content, path)
    return places


@pytest.mark.long
@pytest.mark.parametrize("case", PUBLISHED, ids=lambda case: f"{case.name}, {case.layout.__name__}")
def test_the_loaded_model_is_the_published_one(
    case: Published, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    zoo, entry, model = RobustBenchZoo(tmp_path / "models"), entry_of(case.name), original(case.name)
    assert zoo.missing(entry)
    put(case.name, case.layout(model), zoo.folder)
    assert zoo.missing(entry) is None
    patched = [torch.load, torch.Tensor.cuda, torch.hub.download_url_to_file]
    loaded = zoo.load(entry)
    assert [torch.load, torch.Tensor.cuda, torch.hub.download_url_to_file] == patched
    assert argparse.Namespace not in torch.serialization.get_safe_globals()
    assert capsys.readouterr().out == ""
    assert loaded.weights_sha256 == state_dict_digest(model.state_dict())
    assert not loaded.model.training
    x = torch.rand(2, *entry.input_size)
    with torch.no_grad():
        expected, got = model(x), loaded.model(x)
    torch.testing.assert_close(got, expected)
    assert (got - got.flip(0)).abs().max() > 1e-6
    assert len(loaded.notes) == len(case.notes)
    assert all(word in note for word, note in zip(case.notes, loaded.notes, strict=True))


def test_gradients_of_the_mended_swish_are_the_originals(tmp_path: Path) -> None:
    model = original(R18)
    put(R18, plain(model), tmp_path / "models")
    loaded = RobustBenchZoo(tmp_path / "models").load(entry_of(R18)).model
    x = torch.rand(2, 3, 32, 32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the original's backward, which auditor never runs
        gradients = [
            torch.autograd.grad(net(at).sum(), at)[0] for net in (model, loaded) if (at := _leaf(x)) is not None
        ]
    torch.testing.assert_close(*gradients)


def _leaf(x: Tensor) -> Tensor:
    return x.clone().requires_grad_()


def without(key: str) -> Callable[[State], State]:
    return lambda state: {name: value for name, value in state.items() if name != key}


MISFITS = [
    (SMALL, without("conv1.weight"), "missing: conv1.weight"),
    (SMALL, lambda state: without("mu")(without("fc.bias")(state)), "missing: mu, fc.bias"),
    (SMALL, without("mu"), "missing: mu"),
    (SMALL, lambda state: state | {"module.fc.bias": state["fc.bias"]}, "both with and without the prefix 'module.'"),
    (
        SMALL,
        lambda state: state | {"fc.bias": state["fc.bias"].to(torch.int8)},
        "integers where the model does not: fc.bias",
    ),
    (SMALL, lambda state: state | {"fc2.weight": torch.ones(2)}, "not known to the architecture: fc2.weight"),
    (SMALL, lambda state: without("sigma")(without("mu")(state)) | {"a": torch.ones(2)}, "architecture: a"),
    (
        SMALL,
        lambda state: state | {"fc.weight": torch.ones(9, 128)},
        "expected fc.weight of shape (10, 128), got (9, 128)",
    ),
    (
        SMALL,
        lambda state: state | {"fc.bias": torch.full((10,), torch.nan)},
        "fc.bias holds values that are not finite",
    ),
    (SMALL, lambda state: state | {"bn1.running_var": torch.full((128,), torch.nan)}, "bn1.running_var holds NaN"),
    (
        SMALL,
        lambda state: {"optimizer": 1, "net": state},
        "expected a state dict of tensors, got a dict with 'optimizer'",
    ),
    (SMALL, lambda state: list(state.values()), "cannot load"),
    (
        "imagenet/Linf/Salman2020Do_R18",
        lambda state: state | {"normalize.std": torch.ones(1, 3, 1, 1)},
        "missing: normalize.mean, normalize.std; not known to the architecture: model.normalize.std",
    ),
    ("cifar10/corruptions/Modas2021PRIMEResNet18", lambda state: without("mu")(without("sigma")(state)), "mu, sigma"),
]


@pytest.mark.long
@pytest.mark.parametrize(("name", "change", "reason"), MISFITS, ids=[reason for _, _, reason in MISFITS])
def test_a_checkpoint_that_does_not_fit_is_refused_and_says_where(
    name: str, change: Callable[[State], object], reason: str, tmp_path: Path
) -> None:
    put(name, [change(original(name).state_dict())], tmp_path / "models")
    with pytest.raises(ModelLoadError) as caught:
        RobustBenchZoo(tmp_path / "models").load(entry_of(name))
    assert reason in str(caught.value)
    assert name.rpartition("/")[2] in str(caught.value)
    assert "\n" not in str(caught.value)


def test_scores_that_pruning_left_behind_are_let_pass() -> None:
    from auditor.zoo.robustbench.adapter import utils
    from auditor.zoo.robustbench.strict import strictly

    class Pruned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 4, 3)
            self.register_buffer("mu", torch.zeros(1))
            self.register_buffer("sigma", torch.ones(1))

    state = {"conv1.weight": torch.ones(4, 3, 3, 3), "conv1.bias": torch.ones(4), "conv1.scores": torch.ones(4)}
    load, dataset = strictly(utils._safe_load_state_dict), utils.BenchmarkDataset.cifar_10
    model = load(Pruned(), "Diffenderfer2021Winning_Binary", state, dataset)
    assert model.conv1.bias.sum() == 4
    with pytest.raises(ModelLoadError, match=r"missing: mu, sigma; not known to the architecture: conv1\.scores"):
        load(Pruned(), "Carmon2019Unlabeled", state, dataset)


def test_a_constructor_that_wants_to_download_is_refused_in_one_line(tmp_path: Path) -> None:
    from auditor.zoo.robustbench import adapter

    row = next(row for row in catalogue.read()[1] if row.id == "imagenet/Linf/Standard_R50")
    with pytest.raises(ModelLoadError, match=r"^download failed: RobustBench needs a file .*resnet50-0676ba61\.pth"):
        adapter.load(row, tmp_path, {})


@pytest.mark.parametrize(
    ("mine", "timms"),
    [
        ("debenedetti2022light_xcit_s12_imagenet_linf", "xcit_small_12_p16_224"),
        ("debenedetti2022light_xcit_s12_cifar10_linf", "xcit_small_12_p16_224"),
    ],
)
def test_robustbenchs_xcit_has_the_keys_and_shapes_of_timms(mine: str, timms: str) -> None:
    from auditor.zoo.robustbench.adapter import quiet, utils

    with quiet():
        made = [utils.timm.create_model(name, num_classes=10) for name in (mine, timms)]
    ours, theirs = (getattr(model, "model", model).state_dict() for model in made)
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in theirs.items()}


@pytest.mark.long
def test_the_catalogue_is_what_the_installed_robustbench_lists() -> None:
    from auditor.zoo.robustbench.build import installed

    assert catalogue.read()[1] == installed()


def test_the_entries_are_all_there_with_what_they_are_audited_under() -> None:
    entries = RobustBenchZoo().entries()
    assert len(entries) == len({entry.model for entry in entries}) == 206
    under = {}
    for entry in entries:
        under.setdefault((entry.dataset, entry.threat_model, entry.norm, entry.eps), []).append(entry)
    assert {key: len(group) for key, group in under.items()} == {
        ("cifar10", "Linf", "Linf", 8 / 255): 76,
        ("cifar10", "L2", "L2", 0.5): 21,
        ("cifar10", "corruptions", "corruptions", 0): 17,
        ("cifar100", "Linf", "Linf", 8 / 255): 38,
        ("cifar100", "corruptions", "corruptions", 0): 12,
        ("imagenet", "Linf", "Linf", 4 / 255): 30,
        ("imagenet", "corruptions", "corruptions", 0): 12,
    }
    for entry in entries:
        assert (entry.threat_model == "corruptions") == ("corruptions" in entry.description)


BICUBIC = Transform(crop=(224, 224), interpolation="bicubic")


@pytest.mark.parametrize(
    ("name", "size", "transform"),
    [
        ("cifar10/Linf/Carmon2019Unlabeled", 32, None),
        ("imagenet/Linf/Wong2020Fast", 288, Transform(crop=(288, 288))),
        ("imagenet/Linf/Engstrom2019Robustness", 224, Transform(resize=256, crop=(224, 224))),
        ("imagenet/Linf/Mo2022When_ViT-B", 224, Transform(resize=(224, 224))),
        ("imagenet/Linf/Liu2023Comprehensive_Swin-B", 224, replace(BICUBIC, resize=256)),
        ("imagenet/Linf/Debenedetti2022Light_XCiT-S12", 224, replace(BICUBIC, resize=224)),
        ("imagenet/corruptions/Tian2022Deeper_DeiT-B", 224, replace(BICUBIC, resize=248)),
        ("imagenet/corruptions/AlexNet", 224, Transform(resize=224, crop=(224, 224))),
    ],
)
def test_pictures_become_inputs_as_robustbench_has_it(name: str, size: int, transform: Transform | None) -> None:
    entry = entry_of(name)
    assert (entry.input_size, entry.transform) == ((3, size, size), transform)


def test_filters_find_models_and_the_3d_corruptions_leaderboard_is_imagenets() -> None:
    entries = RobustBenchZoo().entries()
    assert len(select(entries, threat_model="corruptions_3d")) == 12
    assert {entry.dataset for entry in select(entries, threat_model="corruptions_3d")} == {"imagenet"}
    assert len(select(entries, threat_model="corruptions")) == 41
    assert len(select(entries, match="*/Rebuffi2021Fixing_R18*", dataset="cifar10")) == 2
    with pytest.raises(UsageError, match="did you mean cifar10/Linf/Carmon2019Unlabeled"):
        select(entries, models=["cifar10/Linf/Carmon2019Unlabelled"])


@pytest.mark.parametrize(("installed", "named"), [("1.0.9", {}), (None, {}), ("1.0.31", {"timm_version": "1.0.31"})])
def test_a_timm_that_robustbench_does_not_pin_is_part_of_what_is_audited(
    installed: str | None, named: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the pinned one, audits keep the identity that they had before another could be used."""
    monkeypatch.setattr("auditor.zoo.robustbench.installed_version", lambda _: installed)
    architecture = entry_of("imagenet/Linf/Mo2022When_ViT-B").architecture
    assert architecture == {"robustbench": "imagenet/Linf/Mo2022When_ViT-B", "version": "1.1.1", **named}


def test_the_commands_for_a_newer_timm_name_all_that_robustbench_needs() -> None:
    """They install RobustBench without its dependencies, because its pin of timm is one of them."""
    text = (Path(__file__).parents[2] / "docs" / "robustbench.md").read_text()
    first, second = re.search(
        r"^    (pip install 'auditor\[timm\]'.*)\n    (pip install --no-deps .*)$", text, re.M
    ).groups()
    assert second == "pip install --no-deps robustbench==1.1.1"
    named = {one.name: one.specifier for one in map(Requirement, shlex.split(first)[3:])}
    needed = {canonicalize_name(one.name): one.specifier for one in map(Requirement, metadata.requires("robustbench"))}
    given = {canonicalize_name(Requirement(line).name) for line in metadata.requires("auditor") if ";" not in line}
    assert not needed.keys() - named.keys() - given - {"timm"}
    assert named["gdown"] == needed["gdown"]
    assert "<81" in str(named["setuptools"])


def test_listing_needs_neither_torch_nor_robustbench() -> None:
    code = (
        "import sys\nfrom auditor.zoo.robustbench import RobustBenchZoo\nzoo = RobustBenchZoo()\n"
        "assert all(zoo.missing(entry) for entry in zoo.entries()[:3])\n"
        "assert not {'torch', 'robustbench', 'timm', 'requests'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})


def scan(*arguments: str) -> tuple[int, list[dict]]:
    settings.cache_clear()
    result = CliRunner().invoke(main, ["scan", "robustbench", "--protocol", "screen", "--format", "json", *arguments])
    assert "Traceback" not in result.output
    return result.exit_code, json.loads(result.stdout)


@pytest.mark.long
def test_a_scan_stores_the_model_that_is_there_and_says_why_the_other_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")  # the child process has its own modules, not our patches
    model = original(R18)
    put(R18, plain(model), tmp_path / "models")
    code, found = scan("--match", "cifar10/Linf/Re*_R18_ddpm", "--model", R18, "--model", SMALL)
    assert (code, [row["model"] for row in found]) == (0, [f"robustbench:{R18}"])
    (row,) = found
    assert (row["status"], row["dataset"], row["norm"], row["hierarchy"]) == ("done", "cifar10", "Linf", "cifar10")
    assert row["weights_sha256"] == state_dict_digest(model.state_dict())
    assert row["affinity_error"] < 1e-3
    assert row["gap"] is not None
    code, found = scan("--model", R18, "--model", SMALL)
    assert code == 1
    outcomes = {row["model"].removeprefix("robustbench:"): row for row in found}
    assert (outcomes[R18]["status"], outcomes[SMALL]["status"]) == ("done", "failed")
    assert outcomes[SMALL]["reason"].startswith("download failed: ")
    assert "Hendrycks2020AugMix_WRN.pt" in outcomes[SMALL]["reason"]
