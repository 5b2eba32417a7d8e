"""Loading from a local zoo: normalization inside, code only where it is trusted, nothing from outside the folder."""

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from auditor.errors import ModelLoadError, UsageError
from auditor.zoo.digest import state_dict_digest
from auditor.zoo.local import LocalZoo, timm_models
from tests.factories.local_zoo import changed, zoo
from tests.factories.trusted_zoo import CODE, network, trusted


def test_the_folders_own_network_with_its_normalization_inside(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, path, modules = (
        trusted(tmp_path, mean="[0.1, 0.2, 0.3]", std="[0.5, 0.6, 0.7]"),
        list(sys.path),
        set(sys.modules),
    )
    (entry,) = source.entries()
    loaded = source.load(entry)
    images = torch.rand(4, 3, 8, 8)
    mean, std = torch.tensor([[0.1, 0.2, 0.3], [0.5, 0.6, 0.7]]).view(2, 1, 3, 1, 1)
    torch.testing.assert_close(loaded.model(images), network()((images - mean) / std))
    assert not loaded.model.training
    assert loaded.weights_sha256 == state_dict_digest(network().state_dict())
    assert sys.path == path
    assert {name for name in set(sys.modules) - modules if "auditor" not in name} & {"layers", "nets"} == set()
    assert not (tmp_path / "__pycache__").exists()
    assert capsys.readouterr().out == ""  # which belongs to JSON


def test_arguments_reach_the_function_and_no_normalization_is_none(tmp_path: Path) -> None:
    source = trusted(
        tmp_path, architecture='{ python = "nets.py:make", kwargs = { width = 5 } }', mean='"none"', std='"none"'
    )
    save_file(network(5).state_dict(), tmp_path / "net.safetensors")
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(source.load(source.entries()[0]).model(images), network(5)(images))


def test_code_that_is_not_trusted_does_not_run(tmp_path: Path) -> None:
    source = replace(trusted(tmp_path, code="import os\nos.mkdir('ran')\n"), trust_code=False)
    (entry,) = source.entries()
    for attempt in (lambda: source.check([entry]), lambda: source.load(entry)):
        with pytest.raises(UsageError, match=r"local:net: loading would run Python code in .*--trust-code"):
            attempt()
    assert not (tmp_path / "ran").exists()
    with pytest.raises(ModelLoadError, match=r"nets\.py has no function 'make'"):
        LocalZoo(tmp_path, trust_code=True).load(entry)
    assert (tmp_path / "ran").is_dir()  # the code does what it says where it is trusted


@pytest.mark.parametrize(
    ("function", "code", "message"),
    [
        ("broken", CODE, "layers.py:9: KeyError: 'no such layer'"),
        ("leave", CODE, "nets.py:17: SystemExit: enough"),
        ("text", CODE, "nets.py:text returned str, expected a torch.nn.Module"),
        ("maek", CODE, "nets.py has no function 'maek'; did you mean make?"),
        ("make", "x = 1 / 0", "nets.py:1: ZeroDivisionError: division by zero"),
        ("make", "def make(:\n", "nets.py:1: SyntaxError: "),
        ("make", "import nothing_of_the_kind\n", "nets.py:1: ModuleNotFoundError"),
        ("make", "def make(a):\n    pass\n", "nets.py:make: TypeError: make() missing 1 required"),
    ],
)
def test_the_folders_code_fails_with_its_file_and_line(tmp_path: Path, function: str, code: str, message: str) -> None:
    source = trusted(tmp_path, code, architecture=f'{{ python = "nets.py:{function}" }}')
    with pytest.raises(ModelLoadError) as caught:
        source.load(source.entries()[0])
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("file", ["nets.py", "layers.py"])
def test_code_that_changes_is_another_architecture_and_not_run_under_the_old_one(tmp_path: Path, file: str) -> None:
    source = trusted(tmp_path)
    (entry,) = source.entries()
    (tmp_path / "unrelated.py").write_text("x = 1\n")
    assert source.entries() == [entry]
    (tmp_path / file).write_text((tmp_path / file).read_text() + "# changed\n")
    assert source.entries()[0].architecture["sha256"] != entry.architecture["sha256"]
    with pytest.raises(ModelLoadError, match="has changed since the scan began: scan again"):
        source.load(entry)
    source.load(replace(source.entries()[0], norm="L2", eps=1.0))  # another threat model is the scan's to ask for


def test_weights_that_become_a_link_to_the_outside_are_refused_when_loaded(tmp_path: Path) -> None:
    (tmp_path / "zoo").mkdir()
    source = trusted(tmp_path / "zoo")
    (entry,) = source.entries()
    (tmp_path / "zoo" / "net.safetensors").rename(tmp_path / "net.safetensors")
    with pytest.raises(ModelLoadError, match="cannot read the weights"):
        source.load(entry)
    (tmp_path / "zoo" / "net.safetensors").symlink_to(tmp_path / "net.safetensors")
    with pytest.raises((UsageError, ModelLoadError), match="leads out of the folder"):
        source.load(entry)


def test_a_digest_and_what_was_mended_are_kept(tmp_path: Path) -> None:
    source = trusted(tmp_path, sha256=f'"{"0" * 64}"')
    with pytest.raises(ModelLoadError, match="expected SHA-256 000000000000…"):
        source.load(source.entries()[0])
    source = trusted(tmp_path)
    torch.save({"model": {f"module.{k}": v for k, v in network().state_dict().items()}}, tmp_path / "net.safetensors")
    loaded = source.load(source.entries()[0])
    assert [note.split("'")[1] for note in loaded.notes] == ["model", "module."]
    assert loaded.weights_sha256 == state_dict_digest(network().state_dict())


def other(width: int = 2) -> dict[str, torch.Tensor]:
    return {key: value + 1 for key, value in network(width).state_dict().items()}


@pytest.mark.parametrize(
    ("content", "settings"),
    [
        (lambda: {"state_dict": other(), "state_dict_ema": network().state_dict()}, {"key": '"state_dict_ema"'}),
        (
            lambda: {f"{p}.{k}": v for p, s in (("q", other()), ("k", network().state_dict())) for k, v in s.items()},
            {"prefix": '"k."'},
        ),
        (
            lambda: {"best": {"a": {"net": network().state_dict(), "teacher": other()}}, "last": other()},
            {"key": '"best.a.net"', "prefix": '""'},
        ),
    ],
)
def test_where_several_fit_the_table_says_which(content: Callable, settings: dict[str, str], tmp_path: Path) -> None:
    source = trusted(tmp_path)
    torch.save(content(), tmp_path / "net.safetensors")
    with pytest.raises(ModelLoadError, match="holds several state dicts that fit and differ: set ") as caught:
        source.load(source.entries()[0])
    source = trusted(tmp_path, **settings)
    torch.save(content(), tmp_path / "net.safetensors")
    loaded = source.load(source.entries()[0])
    assert loaded.weights_sha256 == state_dict_digest(network().state_dict())
    assert all(f"{key} = " in str(caught.value) for key in settings if settings[key] != '""')


def test_a_sharded_file_is_its_index(tmp_path: Path) -> None:
    source = trusted(tmp_path, weights='"model.safetensors.index.json"')
    state = network().state_dict()
    for number, key in enumerate(state):
        save_file({key: state[key]}, tmp_path / f"{number}.safetensors", metadata={"format": "pt"})
    files = {key: f"{number}.safetensors" for number, key in enumerate(state)}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    assert source.load(source.entries()[0]).weights_sha256 == state_dict_digest(state)


TIMM = '{ timm = "resnet10t", kwargs = { stem_width = 8, channels = [8, 16, 16, 32] } }'


def test_a_timm_network_with_arguments(tmp_path: Path) -> None:
    source = trusted(tmp_path, architecture=TIMM)
    (entry,) = source.entries()
    model = timm_models.create("resnet10t", entry.architecture["kwargs"])
    save_file(model.state_dict(), tmp_path / "net.safetensors")
    images = torch.rand(2, 3, 8, 8)
    loaded = LocalZoo(tmp_path).load(entry)  # no code of the folder's: no trust needed
    torch.testing.assert_close(loaded.model(images), model.eval()((images - 0.5) / 0.5))
    assert source.preload == ("auditor.zoo.local.timm_models",)
    assert loaded.notes == ()


def test_what_a_timm_model_leaves_out_comes_from_timm(tmp_path: Path) -> None:
    text = changed(
        dataset='{ classes = ["x", "y"] }', architecture='{ timm = "resnet18.tv_in1k" }', mean=None, std=None
    )
    (entry,) = zoo(tmp_path, text).entries()
    assert entry.input_size == (3, 224, 224)
    assert entry.preprocessing == {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    assert (entry.transform.resize, entry.transform.crop) == (256, (224, 224))
    assert entry.transform.interpolation == "bilinear"
    assert entry.architecture["kwargs"] == {"num_classes": 2, "in_chans": 3}
    model = timm_models.create("resnet18", {"num_classes": 2, "in_chans": 3})
    save_file(model.state_dict(), tmp_path / "net.safetensors")
    (note,) = LocalZoo(tmp_path).load(entry).notes
    assert note == "mean and std are from timm's pretrained_cfg of resnet18.tv_in1k"


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        ('{ timm = "resnet81" }', "has no architecture 'resnet81'; did you mean resnet"),
        ('{ timm = "resnet18.a1_in2k" }', "has no tag 'a1_in2k' of resnet18; did you mean a1_in1k"),
        ('{ timm = "resnet18", kwargs = { colour = 3 } }', "timm cannot construct resnet18 with .*'colour'"),
    ],
)
def test_what_timm_does_not_know(tmp_path: Path, architecture: str, message: str) -> None:
    source = trusted(tmp_path, architecture=architecture, resize='"none"')
    with pytest.raises(ModelLoadError, match=message):
        source.load(source.entries()[0])
    if "kwargs" not in architecture:  # the same with its line, where timm is asked anyway
        with pytest.raises(UsageError, match=rf"zoo.toml:12: models\[0\].architecture.timm: .*{message}"):
            zoo(tmp_path, changed(architecture=architecture, mean=None, std=None)).entries()


def test_a_network_of_lower_precision_is_run_in_float32(tmp_path: Path) -> None:
    source = trusted(tmp_path, CODE + "\n\ndef half():\n    return make().bfloat16()\n",
                     architecture='{ python = "nets.py:half" }')  # fmt: skip
    loaded = source.load(source.entries()[0])
    assert {parameter.dtype for parameter in loaded.model.parameters()} == {torch.float32}


def test_the_folders_code_leaves_torchs_modes_as_they_were(tmp_path: Path) -> None:
    """Otherwise the model would be screened without gradients."""
    code = f"import torch\ntorch.set_grad_enabled(False)\ntorch.set_default_dtype(torch.float64)\n{CODE}"
    source = trusted(tmp_path, code)
    (entry,) = source.entries()
    model = source.load(entry).model
    assert torch.is_grad_enabled()
    assert torch.get_default_dtype() == torch.float32
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
