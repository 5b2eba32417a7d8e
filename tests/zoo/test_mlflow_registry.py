"""``weights = "models:/NAME/VERSION"``: versions of a real MLflow registry, loaded as files of the zoo's folder are."""

from pathlib import Path

import onnx
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from auditor.errors import ModelLoadError, UsageError
from auditor.zoo.local import LocalZoo
from tests.factories.graphs import graph_zoo, small_network, write_onnx

mlflow = pytest.importorskip("mlflow", reason="needs MLflow, of the extra `test`")
pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own, about SQLAlchemy

TABLE = """
[[models]]
name = "net"
weights = "{weights}"
norm = "Linf"
eps = 0.1
dataset = "fashion_mnist"
architecture = {{python = "net.py:make"}}
mean = [0.5]
std = [0.5]
"""
CODE = """
from torch import nn

def make():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))
"""


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Registry":
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Registry(tmp_path)


class Registry:
    """A registry in a file, to which folders are added as versions; and a zoo's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.zoo = folder, folder / "zoo"
        self.client = mlflow.MlflowClient()
        self.experiment = self.client.create_experiment("e", artifact_location=(folder / "artifacts").as_uri())
        self.zoo.mkdir()
        (self.zoo / "net.py").write_text(CODE)

    def add(self, name: str, **files: bytes | dict[str, torch.Tensor]) -> str:
        """Add a version of a model with these files (a double underscore is a dot); returns its number."""
        run = self.client.create_run(self.experiment)
        local = self.folder / run.info.run_id
        local.mkdir()
        for key, content in files.items():
            path = local / key.replace("__", ".")
            if isinstance(content, bytes):
                path.write_bytes(content)
            elif path.suffix == ".safetensors":
                save_file(content, path)
            else:
                torch.save(content, path)
        self.client.log_artifacts(run.info.run_id, str(local), "model")
        if not self.client.search_registered_models(f"name = '{name}'"):
            self.client.create_registered_model(name)
        version = self.client.create_model_version(name, f"{run.info.artifact_uri}/model", run.info.run_id)
        return str(version.version)

    def load(self, weights: str) -> tuple[nn.Module, tuple[str, ...]]:
        (self.zoo / "zoo.toml").write_text(TABLE.format(weights=weights))
        zoo = LocalZoo(self.zoo, trust_code=True)
        (entry,) = zoo.entries()
        loaded = zoo.load(entry)
        return loaded.model, loaded.notes


def state(seed: int) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).state_dict()


def logits_of(tensors: dict[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    return ((x - 0.5) / 0.5).flatten(1) @ tensors["1.weight"].T + tensors["1.bias"]


def test_a_version_has_the_logits_of_its_file(registry: Registry) -> None:
    x = torch.rand(5, 1, 28, 28)
    for number, (name, tensors) in enumerate([("a.safetensors", state(1)), ("state_dict.pth", state(2))], 1):
        assert registry.add("digits", **{name.replace(".", "__"): tensors}) == str(number)
    for number in (1, 2):
        model, notes = registry.load(f"models:/digits/{number}")
        torch.testing.assert_close(model(x), logits_of(state(number), x))
        assert f"weights are version {number} of digits in MLflow's registry" in notes


def test_an_alias_is_the_version_that_it_names_now(registry: Registry) -> None:
    x = torch.rand(5, 1, 28, 28)
    for seed in (1, 2):
        registry.add("digits", weights__safetensors=state(seed))
    for number in (1, 2):
        registry.client.set_registered_model_alias("digits", "champion", str(number))
        torch.testing.assert_close(registry.load("models:/digits@champion")[0](x), logits_of(state(number), x))


def test_a_number_that_comes_again_is_another_version(registry: Registry) -> None:
    x = torch.rand(5, 1, 28, 28)
    for seed in (1, 2):
        assert registry.add("digits", weights__safetensors=state(seed)) == "1"
        torch.testing.assert_close(registry.load("models:/digits/1")[0](x), logits_of(state(seed), x))
        registry.client.delete_registered_model("digits")


def test_safetensors_come_first_and_a_file_can_be_named(registry: Registry) -> None:
    x = torch.rand(2, 1, 28, 28)
    registry.add("digits", w__safetensors=state(1), w__pth=state(2), config__json=b"{}")
    torch.testing.assert_close(registry.load("models:/digits/1")[0](x), logits_of(state(1), x))
    torch.testing.assert_close(registry.load("models:/digits/1#w.pth")[0](x), logits_of(state(2), x))


@pytest.mark.long
@pytest.mark.parametrize("external", [True, False])
def test_an_onnx_model_that_mlflow_logged_has_the_logits_of_its_original(external: bool, registry: Registry) -> None:
    """MLflow's own layout of files, by default with the weights in a file beside the graph."""
    path = write_onnx(small_network(), registry.folder / "net.onnx")
    mlflow.set_experiment(experiment_id=registry.experiment)
    with mlflow.start_run():
        mlflow.onnx.log_model(
            onnx.load(path), name="model", registered_model_name="digits", save_as_external_data=external,
            pip_requirements=["onnx"],  # else it tries the model in another process
        )  # fmt: skip
    x = torch.rand(5, 3, 8, 8)
    zoo = graph_zoo(registry.zoo, "models:/digits/1#model.onnx", trust_code=False)
    loaded = zoo.load(zoo.entries()[0])
    mean, std = (torch.tensor(numbers).view(3, 1, 1) for numbers in ([0.5, 0.4, 0.3], [0.5, 0.6, 0.7]))
    torch.testing.assert_close(loaded.model(x), small_network()((x - mean) / std))
    assert "weights are version 1 of digits in MLflow's registry" in loaded.notes


def test_an_onnx_model_needs_the_name_of_its_file(registry: Registry) -> None:
    """Whether there is an architecture to describe must be known before anything is downloaded."""
    with pytest.raises(UsageError, match=r'architecture: missing: .*, or weights = "models:/digits/1#FILE\.onnx"'):
        graph_zoo(registry.zoo, "models:/digits/1").entries()


@pytest.mark.long
@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("models:/digits/9", "models:/digits/9: MLflow: "),
        ("models:/nothing/1", "models:/nothing/1: MLflow: "),
        ("models:/digits@none", "models:/digits@none: MLflow: "),
        ("models:/digits/1", "the version has several weight files: a.safetensors, b.safetensors; write weights"),
        ("models:/digits/1#c.pth", "the version has no file 'c.pth'; it has a.safetensors, b.safetensors"),
        ("models:/digits/2", "the version has no weight file: README.md"),
        ("models:/digits/3", "model.pth"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(weights: str, words: str, registry: Registry) -> None:
    registry.add("digits", a__safetensors=state(1), b__safetensors=state(2))
    registry.add("digits", README__md=b"# nothing")
    registry.add("digits", model__pth=b"not a checkpoint")
    with pytest.raises(ModelLoadError) as raised:
        registry.load(weights)
    assert words in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_pickled_module_runs_no_code(registry: Registry, tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "module.pth")
    registry.add("digits", model__pth=(tmp_path / "module.pth").read_bytes())
    with pytest.raises(ModelLoadError, match=r"model\.pth"):
        registry.load("models:/digits/1")


@pytest.mark.parametrize(
    "weights",
    ["models:/digits", "models:digits/1", "models:/digits/one", "models:/a/b/1", "models:/digits/1#../../etc/passwd",
     "models:/digits/1#/etc/passwd", "models:/digits/1#", "models:/digits/1#program.pt2"],
)  # fmt: skip
def test_names_are_checked_in_the_file(weights: str, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text(CODE)
    (tmp_path / "zoo.toml").write_text(TABLE.format(weights=weights))
    with pytest.raises(UsageError, match=r"zoo\.toml:4: models\[0\]\.weights: ") as raised:
        LocalZoo(tmp_path).entries()
    assert "\n" not in str(raised.value)


def test_without_a_server_the_line_says_how_to_name_one(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(ModelLoadError, match=r"models:/digits/1: MLflow: cannot reach 127\.0\.0\.1"):
        registry.load("models:/digits/1")
