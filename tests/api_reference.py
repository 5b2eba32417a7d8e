"""docs/api.md from the OpenAPI description: ``make docs`` writes it, a test compares it."""

import sys
from typing import Any

from sqlalchemy import create_engine

from auditor.web.app import create_app

HEAD = """# HTTP API reference

Generated from the server's OpenAPI description by `make docs`. [web.md](web.md#the-http-api) explains tokens, pages and
events. A running server has the description itself at `/api/v1/openapi.json`, and a page of it at `/docs`. Every path
below begins with `/api/v1`.

"""
ERRORS = "\n## Errors\n\nA request may be answered by these, as `application/problem+json`:\n"
PREFIX = "/api/v1"


def reference() -> str:
    document = create_app(create_engine("sqlite://")).openapi()
    shapes: dict[str, Any] = document["components"]["schemas"]
    everywhere = common_errors(document)
    parts = [HEAD, f"{document['info']['description']}\n", ERRORS]
    parts.append("\n| status | meaning |\n| --- | --- |\n")
    parts += [f"| {status} | {cell(text)} |\n" for status, text in everywhere.items()]
    for tag in dict.fromkeys(
        operation["tags"][0] for methods in document["paths"].values() for operation in methods.values()
    ):
        parts.append(f"\n## {tag.capitalize()}\n")
        for path, methods in document["paths"].items():
            for method, operation in methods.items():
                if operation["tags"][0] == tag:
                    parts.append(describe_operation(method, path.removeprefix(PREFIX), operation, everywhere))
    parts.append("\n## Types\n")
    parts += [describe_shape(name, shape) for name, shape in sorted(shapes.items())]
    return "".join(parts)


def common_errors(document: dict[str, Any]) -> dict[str, str]:
    """The errors that have the same meaning wherever they occur, by status."""
    meanings: dict[str, set[str]] = {}
    for methods in document["paths"].values():
        for operation in methods.values():
            for status, answer in operation["responses"].items():
                meanings.setdefault(status, set()).add(answer["description"])
    return {
        status: next(iter(texts))
        for status, texts in sorted(meanings.items())
        if not status.startswith("2") and len(texts) == 1
    }


def describe_operation(method: str, path: str, operation: dict[str, Any], everywhere: dict[str, str]) -> str:
    lines = [f"\n### {method.upper()} {path}\n", f"\n{operation['description']}\n"]
    body = operation.get("requestBody")
    if body:
        lines.append(f"\nBody: {type_of(body['content']['application/json']['schema'])}.\n")
    if operation.get("parameters"):
        lines.append("\n| parameter | in | type | meaning |\n| --- | --- | --- | --- |\n")
        for parameter in operation["parameters"]:
            default = default_of(parameter["schema"])
            text = cell(parameter.get("description", "")) + default
            lines.append(f"| `{parameter['name']}` | {parameter['in']} | {type_of(parameter['schema'])} | {text} |\n")
    for status, answer in operation["responses"].items():
        if status not in everywhere:
            lines.append(f"\nStatus {status}: {answer_of(answer)}.\n")
    return "".join(lines)


def answer_of(answer: dict[str, Any]) -> str:
    shapes = [
        type_of(entry["schema"]) if kind == "application/json" and entry.get("schema") else f"`{kind}`"
        for kind, entry in answer.get("content", {}).items()
    ]
    return ", ".join(shapes) if shapes else cell(answer["description"]).removesuffix(".")


def describe_shape(name: str, shape: dict[str, Any]) -> str:
    lines = [f"\n### {name}\n"]
    if shape.get("description"):
        lines.append(f"\n{shape['description']}\n")
    required = shape.get("required", [])
    if "properties" in shape:
        lines.append("\n| field | type | meaning |\n| --- | --- | --- |\n")
        for field, schema in shape["properties"].items():
            text = cell(schema.get("description", "")) + ("" if field in required else default_of(schema))
            lines.append(f"| `{field}` | {type_of(schema)} | {text} |\n")
    else:
        lines.append(f"\n{type_of(shape)}\n")
    return "".join(lines)


def type_of(schema: dict[str, Any]) -> str:
    """A schema in a few words, with links to named types."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return " or ".join(dict.fromkeys(type_of(one) for one in schema[key]))
    if schema.get("type") == "array":
        return f"list of {type_of(schema['items'])}" if schema.get("items") else "list"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {type_of(schema['additionalProperties'])}"
    return str(schema.get("format") or schema.get("type") or "any value")


def default_of(schema: dict[str, Any]) -> str:
    if schema.get("default") is None:
        return ""
    return f" Default: `{schema['default']}`.".replace("|", "\\|")


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    sys.stdout.write(reference())
