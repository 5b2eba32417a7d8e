"""Code for a model card that loads the exported checkpoint."""

from pathlib import Path
from typing import Any

from auditor.checkpoints.origin import normalizes_itself
from auditor.records import ZooEntry

_NORMALIZED = (
    "It takes images in [0, 1] after `(x - mean) / std` with mean {mean} and std {std}, as in `config.json`{flipped}."
)
_RAW = "It takes images in [0, 1]; the normalization is inside the network."


def usage(entry: ZooEntry, original: ZooEntry) -> str:
    """Markdown with code that constructs the network with these weights, and with its input format."""
    known = [
        part
        for part in ("timm", "name", "robustbench", "torchvision", "transformers", "python", "onnx", "export")
        if part in entry.architecture
    ]
    code = _timm(entry, original) if "timm" in known else _CODE[known[0]](entry) if known else _AUDITOR
    takes = _RAW if normalizes_itself(original) else _normalized(entry.preprocessing)
    size = " × ".join(map(str, entry.input_size))
    return f"{code}\n\n{takes} Their size is {size}."


def _normalized(preprocessing: dict[str, Any]) -> str:
    flipped = ", and then its channels in the order blue, green, red" if preprocessing.get("flip") else ""
    return _NORMALIZED.format(mean=preprocessing["mean"], std=preprocessing["std"], flipped=flipped)


def timm_name(entry: ZooEntry, original: ZooEntry) -> str:
    """The name for ``timm.create_model``; its tag may decide the number of classes and the input size."""
    return original.model.removeprefix("timm:") if original.source == "timm" else str(entry.architecture["timm"])


def _timm(entry: ZooEntry, original: ZooEntry) -> str:
    kwargs = entry.architecture.get("kwargs", {})
    arguments = "".join(f", {key}={value!r}" for key, value in kwargs.items())
    code = _python(
        "import timm",
        "",
        f'model = timm.create_model({timm_name(entry, original)!r}{arguments}, checkpoint_path="model.safetensors")',
        "model.eval()",
    )
    return (
        f'{code}\n\nFrom the hub, `timm.create_model("hf-hub:OWNER/NAME", pretrained=True)` also reads `config.json`.'
    )


def _demo(entry: ZooEntry) -> str:
    return _python(
        "from auditor.zoo.demo.networks import ARCHITECTURES",
        "from safetensors.torch import load_file",
        "",
        f"model = ARCHITECTURES[{entry.architecture['name']!r}]().eval()",
        'model.load_state_dict(load_file("model.safetensors"))',
    )


def _robustbench(entry: ZooEntry) -> str:
    dataset, threat_model, name = entry.architecture["robustbench"].split("/", 2)
    return _python(
        "from robustbench.utils import load_model",
        "from safetensors.torch import load_file",
        "",
        f"model = load_model({name!r}, dataset={dataset!r}, threat_model={threat_model!r}).eval()",
        'model.load_state_dict(load_file("model.safetensors"))',
    )


def _torchvision(entry: ZooEntry) -> str:
    arguments = "".join(f", {key}={value!r}" for key, value in entry.architecture["kwargs"].items())
    size = entry.input_size[1]
    if entry.architecture["torchvision"].startswith("vit_"):
        arguments += f", image_size={size}"
    return _python(
        "from safetensors.torch import load_file",
        "from torchvision.models import get_model",
        "",
        f"model = get_model({entry.architecture['torchvision']!r}{arguments}).eval()",
        'model.load_state_dict(load_file("model.safetensors"))',
    )


def _transformers(entry: ZooEntry) -> str:
    return _python(
        "import json",
        "from pathlib import Path",
        "",
        f"from transformers import AutoConfig, {entry.architecture['transformers']}",
        "from safetensors.torch import load_file",
        "",
        'about = json.loads(Path("config.json").read_text())',
        'config = AutoConfig.for_model(**about["architecture"]["config"], num_labels=about["num_classes"])',
        f"model = {entry.architecture['transformers']}(config).eval()",
        'model.load_state_dict(load_file("model.safetensors"))  # logits are model(images).logits',
    )


def _onnx(entry: ZooEntry) -> str:
    return f"{_graph(entry, 'onnx', 'the ONNX file')} It needs `auditor[onnx]`."


def _program(entry: ZooEntry) -> str:
    saving = (
        'batch = {0: torch.export.Dim("batch")}',
        "program = torch.export.export(model, (torch.rand(2, *size),), dynamic_shapes=(batch,))",
        'torch.export.save(program, "model.pt2")',
    )
    graph = _graph(entry, "export", "the program of torch.export", "import torch", *saving)
    return f"{graph} `model.pt2` is then a whole network: it needs no other file, and a local zoo can hold it."


def _graph(entry: ZooEntry, kind: str, what: str, *more: str) -> str:
    """Code for a network whose graph is only in the file of the original model; ``more`` are an import and lines."""
    file, digest = Path(entry.architecture[kind]).name, entry.architecture.get("sha256")
    code = _python(
        "from pathlib import Path",
        "",
        *more[:1],
        "from auditor.zoo.local.graphs import load_graph",
        "from safetensors.torch import load_file",
        "",
        f"size, preprocessing = {tuple(entry.input_size)}, {entry.preprocessing}",
        f"model = load_graph({kind!r}, Path({file!r}), size, preprocessing).network",
        'model.load_state_dict(load_file("model.safetensors"))',
        *more[1:],
    )
    return (
        f"The graph of this network is that of {what} `{file}` of the original zoo"
        f"{f', which has the SHA-256 `{digest}`' if digest else ''}. That file is not in this folder. With it beside "
        f"the weights:\n\n{code}\n\n`model` is a torch network."
    )


def _custom_code(entry: ZooEntry) -> str:
    file, _, function = entry.architecture["python"].rpartition(":")
    return (
        f"The network is what `{function}` in `{file}` of the original zoo returns for the arguments in "
        "`config.json`; that code is not in this folder. Its state dict is `model.safetensors`."
    )


_AUDITOR = "The network's state dict is `model.safetensors`; `config.json` says what the network is."
_CODE = {
    "name": _demo,
    "robustbench": _robustbench,
    "torchvision": _torchvision,
    "transformers": _transformers,
    "python": _custom_code,
    "onnx": _onnx,
    "export": _program,
}


def _python(*lines: str) -> str:
    return "\n".join(["```python", *lines, "```"])
