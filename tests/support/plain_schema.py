"""As much of JSON Schema as our own description uses, to hold answers against it. What it does not know, it refuses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict, "array": list, "string": str, "integer": int, "number": (int, float), "boolean": bool,
    "null": type(None),
}
SAYS_NOTHING = {"title", "description", "default", "example", "examples", "format", "contentMediaType"}
KNOWN = {"$ref", "type", "properties", "required", "items", "anyOf", "allOf", "enum", "const", "pattern",
         "additionalProperties", "minLength", "maxLength", "minItems", "maxItems", "minimum", "maximum"}


def faults(schema: Mapping[str, Any], value: Any, described: Mapping[str, Any], at: str = "$") -> Iterator[str]:
    """Everything in which the value is not as described, including fields that nobody described."""
    assert set(schema) <= KNOWN | SAYS_NOTHING, f"{at}: {set(schema) - KNOWN - SAYS_NOTHING}"
    if "$ref" in schema:
        schema = described["components"]["schemas"][schema["$ref"].removeprefix("#/components/schemas/")]
        yield from faults(schema, value, described, at)
        return
    for part in schema.get("allOf", ()):
        yield from faults(part, value, described, at)
    if "anyOf" in schema and all(list(faults(each, value, described, at)) for each in schema["anyOf"]):
        yield f"{at}: none of the alternatives"
    wanted = TYPES.get(schema.get("type", ""), object)
    if not isinstance(value, wanted) or (isinstance(value, bool) and schema.get("type") in ("integer", "number")):
        yield f"{at}: {value!r} is no {schema['type']}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{at}: {value!r} is none of {schema['enum']}"
    if "const" in schema and value != schema["const"]:
        yield f"{at}: {value!r} is not {schema['const']!r}"
    yield from _inside(schema, value, described, at)


def _inside(schema: Mapping[str, Any], value: Any, described: Mapping[str, Any], at: str) -> Iterator[str]:
    match value:
        case dict():
            properties, more = schema.get("properties", {}), schema.get("additionalProperties")
            for name in schema.get("required", ()):
                if name not in value:
                    yield f"{at}: {name} is missing"
            for name, each in value.items():
                if name in properties:
                    yield from faults(properties[name], each, described, f"{at}.{name}")
                elif isinstance(more, dict):
                    yield from faults(more, each, described, f"{at}.{name}")
                elif properties and more is not True:
                    yield f"{at}: {name} is not described"
        case list():
            if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
                yield f"{at}: {len(value)} items"
            for number, each in enumerate(value):
                yield from faults(schema.get("items", {}), each, described, f"{at}[{number}]")
        case str():
            if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)):
                yield f"{at}: {len(value)} characters"
            if "pattern" in schema and not re.search(schema["pattern"], value):
                yield f"{at}: {value!r} is not like {schema['pattern']}"
        case int() | float():
            if not schema.get("minimum", value) <= value <= schema.get("maximum", value):
                yield f"{at}: {value} is out of range"
