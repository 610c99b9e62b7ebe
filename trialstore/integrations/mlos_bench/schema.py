"""The storage's configuration in mlos_bench's own JSON schemas, which name only the storage that it brings."""

from __future__ import annotations

from typing import Any

from mlos_bench.config.schemas.config_schemas import ConfigSchema, SchemaStore

__all__ = ["CLASS_NAME", "register_schema"]

CLASS_NAME = "trialstore.integrations.mlos_bench.TrialStoreStorage"
"""What the storage is called in a configuration."""

_CONFIG: dict[str, Any] = {
    "$comment": "What trialstore.open takes.",
    "type": "object",
    "properties": {
        "url": {
            "description": "A folder, or a URL of file://, memory://, s3://, gs:// or az://.",
            "type": "string",
            "minLength": 1,
            "examples": ["results", "s3://bucket/results"],
        },
        "mode": {"description": "r never writes.", "enum": ["r", "rw"]},
        "durability": {
            "description": "Whether a returned call survives the machine's crash, or the process's alone.",
            "enum": ["machine", "process"],
        },
        "lease_s": {"description": "Seconds until a killed runner's trials count as lost.", "type": "number"},
        "linger_s": {"description": "Longest time in seconds that telemetry waits in memory.", "type": "number"},
        "storage_options": {"description": "For the object store: credentials, endpoint.", "type": "object"},
    },
    "required": ["url"],
    "unevaluatedProperties": False,
}


def register_schema() -> None:
    """Make mlos_bench accept the storage's configuration, and refuse a wrong one, in this process.

    Any number of calls do what one does. It must come before the configuration is read; whatever makes a
    `TrialStoreStorage` in Python, and ``python -m trialstore.integrations.mlos_bench``, does it by itself.
    """
    schema = ConfigSchema.STORAGE.schema
    known = schema["properties"]["class"]["enum"]
    if CLASS_NAME in known:
        return
    known.append(CLASS_NAME)
    schema["oneOf"].append(
        {
            "if": {"properties": {"class": {"const": CLASS_NAME}}, "required": ["class"]},
            "then": {
                "properties": {
                    "config": _CONFIG,
                    "resolve_config_property_paths": {"enum": ["url", ["url"]]},
                }
            },
            "else": False,
        }
    )
    # Made of the schemas when it is next asked for.
    SchemaStore._REGISTRY = type(SchemaStore._REGISTRY)()
