"""Containers as training scripts and frameworks write them: what is in them loads by itself, or a line says why not."""

import argparse
import array
import collections
import dataclasses
import datetime
import decimal
import enum
import functools
import http
import io
import ipaddress
import json
import logging
import math
import optparse
import os
import pathlib
import random
import re
import signal
import string
import subprocess
import sys
import time
import types
import uuid
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.optim.swa_utils import AveragedModel

from auditor.errors import ModelLoadError
from auditor.zoo.weight_files import WeightFile, load_or_download
from auditor.zoo.weights import fill, read_content

IMAGES = torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(0))


class Network(nn.Module):
    """Convolutions with batch norms, in nested modules, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4)), nn.ReLU())
        self.head = nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).flatten(1))


def network(seed: int = 0) -> Network:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Network()
        model.body[0][1].running_mean.uniform_(-1, 1)
        model.body[0][1].num_batches_tracked += 17
        return model.eval()


LOGITS = network()(IMAGES).detach()
STATE = network().state_dict()
OTHER = network(1).state_dict()
Build = Callable[[], Any]


def prefixed(prefix: str, state: dict[str, Tensor] = STATE) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items()}


def renamed(change: Callable[[str], str], state: dict[str, Tensor] = STATE) -> dict[str, Tensor]:
    return {change(key): value for key, value in state.items()}


def saved(value: object, **options: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def load(content: object, path: Path, *, key: str | None = None, prefix: str | None = None) -> tuple[str, ...]:
    """The notes; the logits must be those of the network that was saved."""
    path.write_bytes(saved(content))
    model = network(2)
    notes = fill(model, read_content(path), path.name, key=key, prefix=prefix)
    torch.testing.assert_close(model(IMAGES), LOGITS, rtol=0, atol=0)
    return notes


def views(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As FSDP and flat optimizers leave it: slices of one storage."""
    floats = {key: value for key, value in state.items() if value.is_floating_point()}
    parts = torch.cat([value.flatten() for value in floats.values()]).split([one.numel() for one in floats.values()])
    return state | {key: part.view(floats[key].shape) for key, part in zip(floats, parts, strict=True)}


def strided(value: Tensor) -> Tensor:
    return value.transpose(0, -1).contiguous().transpose(0, -1) if value.ndim > 1 else value


def optimizer() -> dict[str, Any]:
    model = network()
    optimizer = torch.optim.Adam(model.parameters())
    model(IMAGES).sum().backward()
    optimizer.step()
    return optimizer.state_dict()


def lightning(**changes: Any) -> dict[str, Any]:
    return {
        "epoch": 9,
        "global_step": 100,
        "pytorch-lightning_version": "2.5.1",
        "state_dict": collections.OrderedDict(prefixed("model.")),
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 9}}}},
        "callbacks": {"ModelCheckpoint{'monitor': 'val_loss'}": {"best_model_score": torch.tensor(0.1)}},
        "optimizer_states": [optimizer()],
        "lr_schedulers": [{"last_epoch": 9, "_last_lr": [0.1]}],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.1, "root": pathlib.Path("data"), "args": argparse.Namespace(width=np.int64(4))},
        **changes,
    }


def averaged() -> dict[str, Tensor]:
    return AveragedModel(network()).state_dict()


def profiled(state: dict[str, Tensor] = STATE) -> dict[str, Tensor]:
    """As thop leaves it: two buffers in each module."""
    modules = {key.rpartition(".")[0] for key in state} | {"", "body", "body.0"}
    names = [f"{module}.{name}".removeprefix(".") for module in modules for name in ("total_ops", "total_params")]
    return state | {name: torch.zeros(1, dtype=torch.float64) for name in names}


def robustness() -> dict[str, Any]:
    """As the package robustness saves an AttackerModel in DataParallel."""
    state = prefixed("module.model.") | prefixed("module.attacker.model.")
    for place in ("module.normalizer.", "module.attacker.normalize."):
        state |= {f"{place}new_mean": torch.zeros(1, 1, 1), f"{place}new_std": torch.ones(1, 1, 1)}
    return {"model": state, "optimizer": optimizer(), "schedule": None, "epoch": 3, "best_prec1": np.float64(0.5)}


LOADING: dict[str, Build] = {
    "bare": lambda: STATE,
    "Lightning, model.": lightning,
    "Lightning, net.": lambda: lightning(state_dict=prefixed("net.")),
    "Lightning, backbone. and the loss's weights": lambda: lightning(
        state_dict=prefixed("backbone.") | {"loss.weight": torch.ones(3), "train_acc.total": torch.tensor(3)}
    ),
    "Lightning around torch.compile": lambda: lightning(state_dict=prefixed("model._orig_mod.")),
    "Lightning of old, whose callbacks are classes": lambda: lightning(callbacks={Config: {"best": 0.1}}),
    "module.": lambda: prefixed("module."),
    "module._orig_mod.": lambda: prefixed("module._orig_mod."),
    "_orig_mod.module.": lambda: prefixed("_orig_mod.module."),
    "_orig_mod. of an inner module": lambda: renamed(lambda key: key.replace("body.0", "body.0._orig_mod")),
    "module. of some names": lambda: renamed(lambda key: key.replace("body.", "body.module.")),
    "module.model.": lambda: {"state_dict": prefixed("module.model.")},
    "model.module.": lambda: {"state_dict": prefixed("model.module.")},
    "FSDP": lambda: renamed(lambda key: f"_fsdp_wrapped_module.{key.replace('0.', '0._fsdp_wrapped_module.', 1)}"),
    "activation checkpoints": lambda: renamed(lambda key: key.replace("0.", "0._checkpoint_wrapped_module.", 1)),
    "Fabric": lambda: {"model": prefixed("_forward_module."), "step": 4},
    "DeepSpeed": lambda: {"module": prefixed("module."), "ds_config": {"zero": 1}, "ds_version": "0.17"},
    "AveragedModel": averaged,
    "AveragedModel alone in a container": lambda: {"model_ema": averaged(), "args": argparse.Namespace(lr=0.1)},
    "EMA equal to the weights": lambda: {"state_dict": STATE, "state_dict_ema": network().state_dict()},
    "EMA of shadow variables": lambda: {"ema": {"shadow": STATE, "decay": 0.999, "updates": 5}},
    "a list of shadow tensors beside": lambda: {"model": STATE, "ema": {"shadow_params": list(OTHER.values())}},
    "profiler": profiled,
    "profiler under DataParallel": lambda: prefixed("module.", profiled()),
    "float counters": lambda: renamed(str, {k: v.double() for k, v in STATE.items()}),
    "averaged counters": lambda: STATE | {"body.0.1.num_batches_tracked": torch.tensor(12.7)},
    "no counters": lambda: {k: v for k, v in STATE.items() if "num_batches" not in k},
    "epoch among the weights": lambda: dict(STATE) | {"epoch": 3, "best": 0.5},
    "timm": lambda: {"epoch": 1, "arch": "net", "state_dict": STATE, "version": 2, "args": argparse.Namespace(lr=1)},
    "torchvision": lambda: {"model": STATE, "optimizer": optimizer(), "args": argparse.Namespace(device="cpu")},
    "a real DataParallel": lambda: nn.DataParallel(network()).state_dict(),
    "a real torch.compile": lambda: {"net": torch.compile(network()).state_dict()},
    "an average of a compiled network": lambda: AveragedModel(torch.compile(network())).state_dict(),
    "the state beside the whole network": lambda: {"net": network(), "state_dict": STATE},
    "two models, one of which fits": lambda: {"student": STATE, "teacher": nn.Linear(7, 7).state_dict()},
    "parameters in place of tensors": lambda: network().state_dict(keep_vars=True),
    "robustness": robustness,
    "model inside network inside state": lambda: {"state": {"network": {"model": STATE}}},
    "a list of one": lambda: [STATE],
    "a subclass of OrderedDict": lambda: Ordered(STATE),
    "views of one flat tensor": lambda: views(STATE),
    "other strides": lambda: {key: strided(value) for key, value in STATE.items()},
    "a tuple with the epoch": lambda: (STATE, 3),
    **{f"in {key!r}": functools.partial(lambda key: {key: STATE, "epoch": 1}, key) for key in (
        "net", "weights", "params", "network", "encoder", "best_state_dict", "module", "my own key",
    )},
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Config:
    """Settings of somebody's own, whose class is not there when the weights are audited."""

    lr: float = 0.1
    steps: tuple[int, ...] = (1, 2)


@pytest.mark.long
@pytest.mark.parametrize("name", LOADING)
def test_what_has_one_reading_loads_by_itself(name: str, tmp_path: Path) -> None:
    load(LOADING[name](), tmp_path / "w.pt")


class Stage(enum.Enum):
    """An enumeration of somebody's own, whose members are made by a call when they are unpickled."""

    FIRST, LAST = 1, 2


@dataclasses.dataclass(slots=True)
class Slotted:
    """Has no ``__dict__``, as attrs' classes; torch's unpickler gets a tuple or a list as its state."""

    lr: float = 0.1


class Version:
    """Gives something else than its attributes as its state."""

    __slots__ = ("parts",)

    def __init__(self) -> None:
        self.parts = (1, 2)

    def __getstate__(self) -> tuple[int, ...]:
        return self.parts

    def __setstate__(self, state: tuple[int, ...]) -> None:
        self.parts = state


class Ordered(collections.OrderedDict[str, Any]):
    """Is called without arguments when it is unpickled, and gets its items afterwards."""


BESIDE: dict[str, Any] = {
    "Namespace": argparse.Namespace(lr=0.1, nested=argparse.Namespace(path=pathlib.Path("x"))),
    "SimpleNamespace": types.SimpleNamespace(a=1),
    "NumPy scalars": [np.float64(1), np.float32(2), np.int64(3), np.bool_(True), np.uint8(4), np.float16(1)],
    "NumPy arrays": {"confusion": np.eye(3), "names": np.array(["a", "b"]), "order": np.arange(3)[::-1]},
    "NumPy objects": np.array([{"a": 1}, None], dtype=object),
    "NumPy dtypes": [np.dtype("f4"), np.float32, np.dtype([("a", "i4")])],
    "NumPy's random state": [np.random.get_state(), np.random.RandomState(0), np.random.default_rng(0)],
    "paths": [pathlib.PosixPath("a"), pathlib.PurePosixPath("b"), pathlib.PureWindowsPath("c")],
    "dates": [datetime.datetime.now(tz=datetime.UTC), datetime.date.today(), datetime.timedelta(1)],
    "numbers": [decimal.Decimal("0.1"), uuid.uuid4(), 2**70, 1j, float("nan")],
    "collections": [
        collections.OrderedDict(a=1), collections.defaultdict(list, a=[1]), collections.Counter("aab"),
        collections.deque([1, 2], 5), frozenset([1]), {2}, range(3),
    ],
    "somebody's own class": Config(),
    "enumerations": [Stage.LAST, {Stage.FIRST: 0.5}],
    "slots and other states": [Slotted(), Version(), Ordered(a=1), {"nested": Ordered(a=Ordered())}],
    "types": [int | None, list[int], Callable[[int], int], Literal["a"], ...],
    "patterns and flags": [re.compile("a.c", re.IGNORECASE), re.IGNORECASE, signal.SIGINT, http.HTTPStatus.OK],
    "data of the standard library": [
        array.array("d", [1, 2]), time.gmtime(), ipaddress.ip_address("::1"), random.Random(1), string.Template("$a"),
        collections.ChainMap({"a": 1}), collections.UserList([1]), optparse.Values({"lr": 1}), logging.getLogger("a"),
    ],
    "functions that nothing calls": [math.sqrt, np.mean, np.add, nn.functional.relu],
    "more of NumPy": [
        np.ma.array([1.0, 2.0], mask=[0, 1]), np.rec.array([(1, 2.0)], dtype="i4,f4"), np.poly1d([1]),
    ],
    "more of torch's": [
        torch.utils.data.TensorDataset(torch.ones(2)), torch.distributions.Normal(0.0, 1.0),
    ],
    "classes": [Config, int, float, dict],
    "optimizer": torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1),
    "torch's own": [torch.float16, torch.Size([1]), torch.device("cpu"), torch.__version__, torch.get_rng_state()],
    "losses": [nn.CrossEntropyLoss(), nn.CrossEntropyLoss(torch.ones(3)), nn.functional.cross_entropy],
    "layers": [nn.ReLU, {"act": nn.functional.gelu, "norm": nn.BatchNorm2d}],
    "partial": functools.partial(int, base=2),
}  # fmt: skip


@pytest.mark.parametrize("value", [network(), nn.CrossEntropyLoss(), nn.ReLU, {"model": nn.Linear(2, 2)}])
def test_modules_in_the_format_of_old_are_named(value: object, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(saved({"net": value, "state": STATE}, _use_new_zipfile_serialization=False))
    with pytest.raises(
        ModelLoadError, match=r"w\.pt holds a whole module, not only a state dict, and none of its code"
    ):
        read_content(tmp_path / "w.pt")


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "legacy"),
    [(name, legacy) for name in BESIDE for legacy in (False, True) if not legacy or name not in ("losses", "layers")],
)
def test_what_lies_beside_the_weights_does_not_matter(name: str, legacy: bool, tmp_path: Path) -> None:
    content = saved({"state_dict": STATE, "more": BESIDE[name]}, _use_new_zipfile_serialization=not legacy)
    (tmp_path / "w.pt").write_bytes(content)
    model = network(2)
    fill(model, read_content(tmp_path / "w.pt"), "w.pt")
    torch.testing.assert_close(model(IMAGES), LOGITS, rtol=0, atol=0)
    downloaded = load_or_download(WeightFile(tmp_path / "w.pt", "http://127.0.0.1:1/w.pt", ""))
    assert downloaded["state_dict"].keys() == STATE.keys()


@pytest.mark.long
def test_classes_that_are_not_installed_are_not_needed(tmp_path: Path) -> None:
    """As omegaconf's and old Lightning's: objects with attributes, dicts and tuples of classes of their own."""
    (tmp_path / "gone.py").write_text(
        "import dataclasses\nclass Items(dict):\n    pass\n"
        "class Node:\n    def __init__(self, v):\n        self.__dict__['_val'] = v\n"
        "@dataclasses.dataclass\nclass Options:\n    lr: float = 0.1\n"
    )
    save = (
        "import torch, gone\nstate = torch.load('state.pt')\n"
        "torch.save({'state_dict': state, 'hyper_parameters': gone.Items(node=gone.Node(3), more=gone.Options()),"
        "'hparams_type': gone.Items}, 'w.pt')\n"
    )
    torch.save(STATE, tmp_path / "state.pt")
    subprocess.run([sys.executable, "-c", save], cwd=tmp_path, check=True)
    model = network(2)
    fill(model, read_content(tmp_path / "w.pt"), "w.pt")
    torch.testing.assert_close(model(IMAGES), LOGITS, rtol=0, atol=0)
    assert "gone" not in sys.modules


class Mine(Tensor):
    """A tensor of somebody's own class, which torch can make only of that class."""


class Rows(list[int]):
    """A list of somebody's own class, whose items come after it is made."""


TWO: dict[str, tuple[Build, list[str], dict[str, str]]] = {
    "EMA beside plain, timm": (
        lambda: {"state_dict": OTHER, "state_dict_ema": STATE},
        ['key = "state_dict"', 'key = "state_dict_ema"'],
        {"key": "state_dict_ema"},
    ),
    "EMA beside plain, torchvision": (
        lambda: {"model": OTHER, "model_ema": averaged()},
        ['key = "model"', 'key = "model_ema"'],
        {"key": "model_ema"},
    ),
    "EMA inside": (
        lambda: {"model": OTHER, "ema": {"shadow": STATE}},
        ['key = "model"', 'key = "ema.shadow"'],
        {"key": "ema"},
    ),
    "best beside last": (
        lambda: {"state_dict": OTHER, "best_state_dict": STATE},
        ['key = "state_dict"', 'key = "best_state_dict"'],
        {"key": "best_state_dict"},
    ),
    "two prefixes in Lightning": (
        lambda: lightning(state_dict=prefixed("model.", OTHER) | prefixed("ema_model.", averaged())),
        ['prefix = "model."', 'prefix = "ema_model."'],
        {"prefix": "ema_model.module."},
    ),
    "bare beside a prefix": (
        lambda: OTHER | prefixed("ema."),
        ['prefix = ""', 'prefix = "ema."'],
        {"prefix": "ema"},
    ),
    "bare beside module.": (
        lambda: OTHER | prefixed("module."),
        ['prefix = ""', 'prefix = "module."'],
        {"prefix": "module."},
    ),
    "the container itself beside what is in it": (
        lambda: STATE | {"ema": OTHER},
        ['key = ""', 'key = "ema"'],
        {"key": ""},
    ),
    "two prefixes at two keys": (
        lambda: {
            "now": prefixed("q.", OTHER) | prefixed("k.", network(4).state_dict()),
            "best": prefixed("q.") | prefixed("k.", network(3).state_dict()),
        },
        ['key = "now" and prefix = "q."', 'key = "best" and prefix = "k."'],
        {"key": "best", "prefix": "q."},
    ),
    "members of an ensemble": (
        lambda: [OTHER, STATE],
        ['key = "0"', 'key = "1"'],
        {"key": "1"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TWO)
def test_two_readings_are_one_line_with_the_settings_that_decide(name: str, tmp_path: Path) -> None:
    build, said, choice = TWO[name]
    with pytest.raises(ModelLoadError, match="holds several state dicts that fit and differ: set ") as caught:
        load(build(), tmp_path / "w.pt")
    assert "\n" not in str(caught.value)
    assert "zoo.toml" in str(caught.value)
    assert all(setting in str(caught.value) for setting in said)
    load(build(), tmp_path / "w.pt", **choice)


@pytest.mark.parametrize(
    ("content", "choice", "message"),
    [
        ({"model": STATE}, {"key": "ema"}, "w.pt has no state dict at key = 'ema'; there is one at 'model'"),
        (prefixed("net."), {"prefix": "model"}, "expected names that begin with prefix = 'model', got 'net.body.0.0"),
        ({"model": {}, "epoch": 1}, {}, "w.pt holds no state dict"),
        ([torch.ones(3), torch.ones(4)], {}, "w.pt holds a list, expected a state dict: names and tensors"),
        ({"params": [torch.ones(3)]}, {}, "w.pt holds no state dict .* but 'params'"),
        (prefixed("model.") | {"model.aux.bias": torch.ones(1)}, {}, "under 'model.': 1 key too many, .*'model.aux.bi"),
        (
            {"a": {**STATE, "head.weight": torch.ones(10, 64)}, "epoch": 1},
            {},
            r"at 'a': expected head.weight of shape \(3, 64\), got \(10, 64\)",
        ),
        ({k: v for k, v in STATE.items() if "mean" not in k}, {}, "1 key missing, the first is 'body.0.1.run"),
        (STATE | {"head.bias": torch.ones(3, dtype=torch.int8)}, {}, "head.bias holds torch.int8 where"),
        (STATE | {"body.0.1.num_batches_tracked": torch.tensor(torch.nan)}, {}, "holds torch.float32 where"),
        ({"model": network()}, {}, "holds a whole module .*test_state_dict_match.Network.*save model.state_dict"),
        (network(), {}, "holds a whole module .*test_state_dict_match.Network"),
        ({"model": nn.Linear(2, 2), "epoch": 1}, {}, "holds a whole module .*torch.nn.modules.linear.Linear"),
        (optimizer(), {}, "missing, the first is"),
        (STATE | {"head.weight": STATE["head.weight"].to_sparse()}, {}, "head.weight as a dense tensor, got a spa"),
        (STATE | {"head.bias": torch.ones(3, device="meta")}, {}, "got a meta tensor, which has no values"),
        (prefixed("module.", STATE | {"head.bias": np.ones(3)}), {}, "head.bias .* got an object .NumPy arrays"),
        ({k: v.numpy() for k, v in STATE.items()}, {}, "no state dict .*: the first is an object .Num"),
        ({k: v.tolist() for k, v in STATE.items()}, {}, "holds no state dict .*: the first is a list"),
        ({k: v.to("meta") for k, v in STATE.items()}, {}, "holds no state dict .*: the first is a meta tensor"),
        ({k: v.as_subclass(Mine) for k, v in STATE.items()}, {}, "w.pt holds objects that are neither tensors nor"),
        ({"a": STATE, "b": [Rows([1])]}, {}, "w.pt holds objects that are neither tensors nor plain values, and none"),
        (STATE | {"head.weight": STATE["head.weight"].to(torch.complex64)}, {}, "head.weight holds torch.complex64"),
        (torch.optim.SGD([torch.ones(1)], lr=0.1), {}, "holds a whole module or another object.*torch.optim.sgd.SGD"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_one_line(content: Any, choice: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelLoadError, match=message) as caught:
        load(content, tmp_path / "w.pt", **choice)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda _: packed({"inner.pt": saved(STATE)}), "w.pt is a zip of 'inner.pt', expected what torch.save writes"),
        (lambda _: packed({"a.npy": b"", "b.npy": b""}), "w.pt is a zip of 'a.npy', 'b.npy', expected"),
        (
            lambda _: packed({"__MACOSX/._w": b""} | entries()),
            r"is a zip, but no complete torch checkpoint \(other entries: '__MACOSX/._w'\)",
        ),
        (
            lambda _: packed({key: value for key, value in entries().items() if "data/3" not in key}),
            "is a zip, but no complete torch checkpoint; none",
        ),
    ],
)
def test_zips_of_other_programs(build: Callable[[Any], bytes], message: str, tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(build(None))
    with pytest.raises(ModelLoadError, match=message):
        read_content(tmp_path / "w.pt")


def entries() -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(saved(STATE))) as archive:
        return {one: archive.read(one) for one in archive.namelist()}


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def test_another_program_may_pack_the_files_of_torch(tmp_path: Path) -> None:
    (tmp_path / "w.pt").write_bytes(packed(entries()))
    fill(network(2), read_content(tmp_path / "w.pt"), "w.pt")


def test_a_sharded_checkpoint_is_named_with_the_command_that_converts_it(tmp_path: Path) -> None:
    folder = tmp_path / "step-100"
    folder.mkdir()
    for name in (".metadata", "__0_0.distcp"):
        (folder / name).write_bytes(saved(STATE))
    for path in (folder, folder / "__0_0.distcp"):
        with pytest.raises(ModelLoadError, match=r"sharded checkpoint: convert its folder with .* dcp_to_torch F"):
            read_content(path)


def leave_a_mark(path: str) -> dict[str, Any]:
    Path(path).mkdir()
    return {}


class Calls:
    """Calls something when it is unpickled the naive way."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (Calls(os.system, "mkdir mark"), "posix.system"),
        (Calls(eval, "__import__('os').mkdir('mark')"), "eval"),
        (Calls(exec, "import os; os.mkdir('mark')"), "exec"),
        (Calls(getattr, "", "join"), "getattr"),
        (Calls(subprocess.call, ["mkdir", "mark"]), "(subprocess|commands).call"),
        (Calls(leave_a_mark, "mark"), "tests.zoo.test_state_dict_match.leave_a_mark"),
        (Calls(np.load, "mark"), "numpy.load"),
        (Calls(torch.load, "mark"), "torch.serialization.load"),
        (Calls(__import__, "mark"), "__import__"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
def test_calls_are_refused_by_name_and_not_made(
    call: Calls, named: str, legacy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content = saved({"state_dict": STATE, "more": [Config(), call]}, _use_new_zipfile_serialization=not legacy)
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(ModelLoadError, match=f"asks for {named}, which is no tensor, and none of its code was run"):
        read_content(tmp_path / "w.pt")
    assert [file.name for file in tmp_path.iterdir()] == ["w.pt"]


def test_notes_say_what_was_passed_over_and_taken_off(tmp_path: Path) -> None:
    state = prefixed("module.model.", profiled()) | {"module.loss.weight": torch.ones(3)}
    assert load({"state_dict": state}, tmp_path / "w.pt") == (
        "weights: used 'state_dict' in w.pt",
        "weights: 'module.', added by DataParallel, was removed from all 9 names",
        "weights: used the names in w.pt that begin with 'model.'; 1 others are ignored: 'module.loss.weight'",
        "weights: 'total_ops', added by a profiler, is ignored",
        "weights: 'total_params', added by a profiler, is ignored",
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(dtype: torch.dtype, tmp_path: Path) -> None:
    torch.save({k: v.to(dtype) if v.is_floating_point() else v for k, v in STATE.items()}, tmp_path / "w.pt")
    model = network(2)
    fill(model, read_content(tmp_path / "w.pt"), "w.pt")
    torch.testing.assert_close(model(IMAGES), LOGITS, rtol=0.05, atol=0.05)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


class Wrapped(nn.Module):
    """A module of somebody's own around the network that was saved."""

    def __init__(self, model: nn.Module, name: str) -> None:
        super().__init__()
        self.add_module(name, model)

    def forward(self, x: Tensor) -> Tensor:
        return next(self.children())(x)


@pytest.mark.parametrize(
    "model", [Wrapped(network(2), "backbone"), Wrapped(network(2), "module"), nn.Sequential(network(2))]
)
@pytest.mark.parametrize("content", [STATE, {"state_dict": prefixed("module.")}], ids=["bare", "DataParallel"])
def test_a_model_around_the_one_that_was_saved(model: nn.Module, content: dict[str, Any]) -> None:
    fill(model, dict(content), "w.pt")
    torch.testing.assert_close(model.eval()(IMAGES), LOGITS, rtol=0, atol=0)


def test_versions_of_modules_are_kept_under_their_new_names(tmp_path: Path) -> None:
    """Old-style spectral norm is mended by torch where a file has no version, and is broken where it has one."""

    def normed(seed: int) -> nn.Module:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return nn.Sequential(nn.utils.spectral_norm(nn.Linear(4, 3))).eval()

    source, model = normed(0), normed(1)
    torch.save({"model": nn.DataParallel(source).state_dict()}, tmp_path / "w.pt")
    fill(model, read_content(tmp_path / "w.pt"), "w.pt")
    torch.testing.assert_close(model(torch.eye(4)), source(torch.eye(4)))


class Odd(nn.Module):
    """Keeps a tensor of integers, and raises where torch would mend an old version."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("order", torch.arange(4))
        self.weight = nn.Parameter(torch.ones(4))

    def _load_from_state_dict(self, state: Any, prefix: str, metadata: Any, *others: Any) -> None:
        if metadata.get("version") == 7:
            raise KeyError("no such version")
        super()._load_from_state_dict(state, prefix, metadata, *others)


def normed(apply: Callable[[nn.Module], object], seed: int) -> Network:
    model = network(seed)
    apply(model.head)
    return model.eval()


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
@pytest.mark.parametrize("wrap", [dict, functools.partial(prefixed, "module."), lambda state: {"model": state}])
def test_names_that_the_modules_convert_themselves(wrap: Callable[[Any], Any], tmp_path: Path) -> None:
    """Torch's new weight norm loads the names of the old one."""
    source = normed(nn.utils.weight_norm, 0)
    torch.save(wrap(source.state_dict()), tmp_path / "w.pt")
    model = normed(nn.utils.parametrizations.weight_norm, 2)
    fill(model, read_content(tmp_path / "w.pt"), "w.pt")
    torch.testing.assert_close(model(IMAGES), source(IMAGES))


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("saved_as", "built_as"),
    [
        (nn.utils.parametrizations.weight_norm, nn.utils.weight_norm),
        (nn.utils.spectral_norm, nn.utils.parametrizations.spectral_norm),
        (nn.utils.parametrizations.orthogonal, nn.Identity()),
        (nn.Identity(), nn.utils.parametrizations.weight_norm),
        (lambda layer: prune.l1_unstructured(layer, "weight", amount=0.5), nn.Identity()),
    ],
)
def test_names_that_nothing_converts_are_one_line(saved_as: Any, built_as: Any) -> None:
    with pytest.raises(ModelLoadError, match="missing, the first is 'head") as caught:
        fill(normed(built_as, 2), dict(normed(saved_as, 0).state_dict()), "w.pt")
    assert "\n" not in str(caught.value)


class Scaled(Network):
    """Has a parameter without dimensions, and a mask with infinities in its state dict."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("mask", torch.full((3, 3), -torch.inf).triu(1))


def test_one_number_may_have_a_dimension_and_a_mask_infinities() -> None:
    """As in files of torch 0.3; infinities that are not the model's own are refused."""
    state = Scaled().state_dict()
    model = Scaled()
    fill(model, dict(state) | {"scale": torch.tensor([0.5])}, "w.pt")
    assert model.scale.item() == 0.5
    with pytest.raises(ModelLoadError, match="mask holds values that are not finite"):
        fill(Scaled(), dict(state) | {"mask": -state["mask"]}, "w.pt")


class Careless(Network):
    """Passes over a file, as a model that finds all names wrong and is content with that."""

    def load_state_dict(self, state: Any, strict: bool = True, assign: bool = False) -> Any:  # noqa: ARG002
        return super().load_state_dict({}, strict=False)


class Other(Network):
    """Has a state dict of another kind."""

    def __init__(self, state: object) -> None:
        super().__init__()
        self.state = state

    def state_dict(self, *_: Any, **__: Any) -> Any:
        return self.state


class Extra(Network):
    """Keeps something in its state dict that is no tensor."""

    def get_extra_state(self) -> dict[str, int]:
        return {"scale": 2}

    def set_extra_state(self, state: Any) -> None:
        raise NotImplementedError


def on_meta() -> Network:
    with torch.device("meta"):
        return Network()


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (Careless, "w.pt: the model's own .* gives body.0.0.weight other values than the file has"),
        (functools.partial(Other, None), r"the model's state_dict\(\) returns NoneType, expected names and tensors"),
        (functools.partial(Other, {"head.bias": np.ones(3)}), "the model's head.bias is a ndarray, expected a tensor"),
        (Extra, r"the model's _extra_state is a dict, expected a tensor: get_extra_state\(\) is not supported"),
        (on_meta, "the model's body.0.0.weight is on the meta device and has no values: build it on the CPU"),
        (functools.partial(nn.LazyLinear, 3), "the model's weight has no shape yet: give the lazy layer its sizes"),
    ],
)
def test_models_that_cannot_take_weights_over(build: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ModelLoadError, match=message):
        fill(build(), dict(STATE), "w.pt")


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (torch.arange(4).double(), ""),
        (torch.arange(4).half(), ""),
        (torch.arange(4).int(), ""),
        (torch.arange(4) + 0.5, "order holds torch.float32 where the model has torch.int64"),
        (torch.full((4,), torch.inf), "order holds torch.float32 where"),
    ],
)
def test_whole_numbers_may_be_floats(order: Tensor, message: str) -> None:
    model = Odd()
    if message:
        with pytest.raises(ModelLoadError, match=message):
            fill(model, {"order": order, "weight": torch.ones(4)}, "w.pt")
    else:
        fill(model, {"order": order, "weight": torch.ones(4)}, "w.pt")
        assert model.order.tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("metadata", [3, [1], {"": 3}, {1: {}}, {"": {"version": 7}}])
def test_versions_that_are_none_do_no_harm(metadata: Any, tmp_path: Path) -> None:
    state = collections.OrderedDict(Odd().state_dict())
    state._metadata = metadata
    torch.save(state, tmp_path / "w.pt")
    if metadata == {"": {"version": 7}}:
        with pytest.raises(ModelLoadError, match=r"w\.pt: .no such version"):
            fill(Odd(), read_content(tmp_path / "w.pt"), "w.pt")
    else:
        assert fill(Odd(), read_content(tmp_path / "w.pt"), "w.pt") == ()


@pytest.mark.parametrize("protocol", [3, 4, 5])
@pytest.mark.filterwarnings("error")
def test_other_protocols_load_or_are_named(protocol: int, tmp_path: Path) -> None:
    torch.save({"state_dict": STATE, "root": pathlib.Path("x")}, tmp_path / "w.pt", pickle_protocol=protocol)
    model = network(2)
    try:
        fill(model, read_content(tmp_path / "w.pt"), "w.pt")
    except ModelLoadError as error:
        assert "save it without pickle_protocol" in str(error)  # noqa: PT017
    else:
        torch.testing.assert_close(model(IMAGES), LOGITS, rtol=0, atol=0)


def sharded(folder: Path, suffix: str) -> dict[str, Any]:
    names = list(STATE)
    files = [f"model-0000{number}-of-00002.{suffix}" for number in (1, 2)]
    for file, part in zip(files, (names[:4], names[4:]), strict=True):
        state = {key: STATE[key] for key in part}
        if suffix == "bin":
            torch.save(state, folder / file)
        else:
            save_file(state, folder / file, metadata={"format": "pt"})
    return {key: files[number >= 4] for number, key in enumerate(names)}


@pytest.mark.parametrize(("suffix", "index"), [("safetensors", "model.safetensors"), ("bin", "pytorch_model.bin")])
def test_shards_are_one_state_dict(suffix: str, index: str, tmp_path: Path) -> None:
    path = tmp_path / f"{index}.index.json"
    path.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": sharded(tmp_path, suffix)}))
    model = network(2)
    fill(model, read_content(path), path.name)
    torch.testing.assert_close(model(IMAGES), LOGITS, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"head.bias": "../other.safetensors"}, "expected files beside it in weight_map, got paths to other folders"),
        ({"head.bias": "/etc/passwd"}, "expected files beside it"),
        ({"head.bias": "gone.safetensors"}, "cannot read the weights .*gone.safetensors: No such file"),
        ({"head.bias": "link.safetensors"}, "its file 'link.safetensors' is a link"),
        ({"head.bias": "model.safetensors.index.json"}, "is an index, expected weights"),
        ({"more.bias": "model-00001-of-00002.safetensors"}, "lacks tensors that the index lists"),
        ({"head.bias": 3}, "is no index of weights"),
        (None, "is no index of weights"),
    ],
)
def test_shards_that_are_none(change: dict[str, Any] | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors.index.json"
    files = sharded(tmp_path, "safetensors")
    (tmp_path / "link.safetensors").symlink_to("/etc/passwd")
    path.write_text(json.dumps({"weight_map": files | change} if change else {"map": files}))
    with pytest.raises(ModelLoadError, match=message) as caught:
        read_content(path)
    assert "\n" not in str(caught.value)
