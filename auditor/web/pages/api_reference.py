"""The page of the HTTP API: every route with its parameters, from the OpenAPI description."""

from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from auditor.web.pages.common import PageAccess, render_page

router = APIRouter()


@dataclass(frozen=True)
class Parameter:
    """A parameter of the path or the query, or a field of the body; ``kind`` is its type in words."""

    name: str
    place: str
    kind: str
    required: bool
    description: str


@dataclass(frozen=True)
class Route:
    """One method of one path."""

    method: str
    path: str
    description: str
    parameters: tuple[Parameter, ...]


@dataclass(frozen=True)
class ApiPage:
    """The routes by their tag."""

    groups: dict[str, tuple[Route, ...]]


@router.get("/docs", response_class=HTMLResponse)
def show_api(request: Request, _: PageAccess) -> HTMLResponse:
    return render_page(request, "api_reference.html", ApiPage(list_routes(request.app.openapi())))


def list_routes(openapi: dict[str, Any]) -> dict[str, tuple[Route, ...]]:
    """Read the routes from an OpenAPI description."""
    groups: dict[str, list[Route]] = {}
    for path, methods in openapi["paths"].items():
        for method, route in methods.items():
            parameters = [
                _parameter(one["name"], one["in"], one["schema"], one["required"], one.get("description", ""))
                for one in route.get("parameters", [])
            ]
            body = route.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            schema = openapi["components"]["schemas"][body["$ref"].rpartition("/")[2]] if "$ref" in body else {}
            parameters += [
                _parameter(name, "body", field, name in schema.get("required", []), field.get("description", ""))
                for name, field in schema.get("properties", {}).items()
            ]
            groups.setdefault(route["tags"][0], []).append(
                Route(method.upper(), path, route.get("description", ""), tuple(parameters))
            )
    return {tag: tuple(routes) for tag, routes in groups.items()}


def _parameter(name: str, place: str, schema: dict[str, Any], required: bool, description: str) -> Parameter:
    return Parameter(name, place, describe_type(schema), required, description)


def describe_type(schema: dict[str, Any]) -> str:
    """A JSON schema in a few words: ``integer from 1 to 500, by default 100``."""
    if "anyOf" in schema:
        words = " or ".join(describe_type(one) for one in schema["anyOf"] if one.get("type") != "null")
    elif "enum" in schema:
        words = "one of " + ", ".join(str(value) or '""' for value in schema["enum"])
    elif "const" in schema:
        words = str(schema["const"])
    elif schema.get("type") == "array":
        words = f"list of {describe_type(schema['items'])}"
    elif "$ref" in schema:
        words = f"object {schema['$ref'].rpartition('/')[2]}"
    else:
        words = str(schema.get("format") or schema.get("type", "any"))
        for key, text in (
            ("minimum", "from"),
            ("exclusiveMinimum", "above"),
            ("maximum", "to"),
            ("exclusiveMaximum", "below"),
        ):
            if key in schema:
                words += f" {text} {schema[key]:g}"
    default = schema.get("default")
    return words if default in (None, "", []) else f"{words}, by default {default}"
