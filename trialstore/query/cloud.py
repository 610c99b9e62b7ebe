"""The options of an fsspec filesystem in the words of Polars' own object-store client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trialstore.blobs.protocol import Blobs

__all__ = ["native_options"]

_PLUMBING = frozenset(
    {"use_listings_cache", "skip_instance_cache", "asynchronous", "loop", "listings_expiry_time", "max_paths"}
    | {"config_kwargs", "default_block_size", "default_fill_cache", "version_aware", "max_concurrency"}
)
"""Options about how fsspec works, not about where the bucket is or who asks."""

_NAMES: Mapping[str, Mapping[str, str]] = {
    "s3": {
        "key": "aws_access_key_id",
        "secret": "aws_secret_access_key",
        "token": "aws_session_token",
        "endpoint_url": "endpoint_url",
        "region_name": "aws_region",
        "aws_access_key_id": "aws_access_key_id",
        "aws_secret_access_key": "aws_secret_access_key",
        "aws_session_token": "aws_session_token",
    },
    "gs": {},
    "az": {
        "account_name": "azure_storage_account_name",
        "account_key": "azure_storage_account_key",
        "sas_token": "azure_storage_sas_token",
        "tenant_id": "azure_tenant_id",
        "client_id": "azure_client_id",
        "client_secret": "azure_client_secret",
    },
}


def native_options(blobs: Blobs) -> dict[str, str] | None:
    """Options with which Polars reads `engine_path` itself, None when only fsspec can."""
    if blobs.filesystem is None:
        return {}
    scheme = blobs.url.partition("://")[0]
    if scheme not in _NAMES:
        return None
    given = getattr(blobs, "storage_options", None)
    return _translate(scheme, blobs.filesystem.storage_options if given is None else given)


def _translate(scheme: str, given: Mapping[str, Any]) -> dict[str, str] | None:
    flat = {name: value for name, value in given.items() if name not in _PLUMBING and value is not None}
    flat.update(flat.pop("client_kwargs", {}))
    options: dict[str, str] = {}
    if scheme == "s3" and flat.pop("anon", False):
        options["aws_skip_signature"] = "true"
    for name, value in flat.items():
        known = _NAMES[scheme].get(name)
        if known is None or not isinstance(value, str):
            return None
        options[known] = value
    if options.get("endpoint_url", "").startswith("http://"):
        options["aws_allow_http"] = "true"
    if scheme == "s3" and "endpoint_url" in options:
        options.setdefault("aws_region", "us-east-1")
    return options
