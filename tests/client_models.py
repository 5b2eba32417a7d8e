"""The types of ``auditor.client`` from the OpenAPI document: ``make client`` writes them, a test compares them."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine

from auditor.web.app import create_app

FILE = Path(__file__).parent.parent / "auditor/client/models.py"
HEAD = '"""The types of requests and responses, generated from the OpenAPI document by `make client`."""\n'
OPTIONS = (
    "--input-file-type=openapi", "--output-model-type=msgspec.Struct", "--target-python-version=3.11",
    "--use-standard-collections", "--use-union-operator", "--use-schema-description", "--use-field-description",
    "--disable-timestamp", "--disable-future-imports", "--keyword-only", "--frozen-dataclasses",
    "--output-datetime-class=datetime", "--enum-field-as-literal=all", "--collapse-root-models",
    "--formatters", "builtin",
)  # fmt: skip
REPLACEMENTS = (
    ("(Struct, kw_only", "(Struct, frozen=True, kw_only"),
    (" | UnsetType", ""),
    ("= UNSET\n", "= None\n"),  # what is left out is null to the server, too
)
_CONSTRAINTS = {"title", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "minLength", "maxLength"}
_CONSTRAINTS |= {"minItems", "maxItems", "pattern", "examples"}
_NOT_OF_OBJECTS = {"properties", "additionalProperties"}


def generate() -> str:
    """Return the module: one frozen structure for each schema."""
    document = create_app(create_engine("sqlite://")).openapi()
    schemas = {name: _simplify(schema) for name, schema in document["components"]["schemas"].items()}
    for name, schema in schemas.items():
        if not name.endswith("Body"):
            _be_lenient(schema)
    small = {"openapi": document["openapi"], "info": document["info"], "paths": {}, "components": {"schemas": schemas}}
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "openapi.json"), Path(folder, "models.py")
        source.write_text(json.dumps(small))
        tool = (sys.executable, "-m", "datamodel_code_generator", f"--input={source}", f"--output={target}", *OPTIONS)
        subprocess.run(tool, check=True)
        text = target.read_text().partition("\n\n")[2]
        for generated, wanted in REPLACEMENTS:
            text = text.replace(generated, wanted)
        target.write_text(HEAD + text)
        for words in (("check", "--quiet", "--fix", "--select=I,F401,UP"), ("format", "--quiet")):
            subprocess.run(
                (sys.executable, "-m", "ruff", *words, "--config", FILE.parents[2] / "pyproject.toml", target),
                check=True,
            )
        return target.read_text()


def _simplify(schema: Any) -> Any:
    """Drop what the server checks: a client reads what the server has sent, and a newer server may send more."""
    if isinstance(schema, list):
        return [_simplify(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "properties" in schema:
        properties = {
            name: {key: value for key, value in _simplify(one).items() if key != "description"}
            for name, one in schema["properties"].items()
        }
        rest = {key: _simplify(one) for key, one in schema.items() if key not in _CONSTRAINTS | _NOT_OF_OBJECTS}
        return rest | {"properties": properties}
    return {key: _simplify(one) for key, one in schema.items() if key not in _CONSTRAINTS}


def _be_lenient(schema: Any) -> None:
    """Responses have all fields and plain strings: a state or protocol that a newer server knows is no error."""
    for one in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        _be_lenient(one)
    if isinstance(schema, dict):
        schema.pop("enum", None)
        schema.pop("default", None)
        if "properties" in schema:
            schema["required"] = list(schema["properties"])


if __name__ == "__main__":
    FILE.write_text(generate())
