"""NumPy arrays as .npy and .npz files, never with a pickle in them."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from trialstore.model.errors import MissingExtraError

__all__ = ["dump_npy", "dump_npz", "load_npy", "load_npz"]


def _numpy() -> Any:
    try:
        import numpy as np
    except ImportError:
        raise MissingExtraError("storing .npy and .npz needs NumPy", hint="pip install numpy") from None
    return np


def dump_npy(value: Any) -> bytes:
    """One array."""
    np = _numpy()
    if not isinstance(value, np.ndarray) or value.dtype.hasobject:
        raise TypeError("a NumPy array without object fields is needed")
    sink = io.BytesIO()
    np.save(sink, value, allow_pickle=False)
    return sink.getvalue()


def load_npy(data: bytes) -> Any:
    """One array; a file with a pickle in it is refused with a ValueError."""
    return _numpy().load(io.BytesIO(data), allow_pickle=False)


def dump_npz(value: Any) -> bytes:
    """Several arrays by name."""
    np = _numpy()
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise TypeError("a mapping of names to NumPy arrays is needed")
    if not all(isinstance(array, np.ndarray) and not array.dtype.hasobject for array in value.values()):
        raise TypeError("NumPy arrays without object fields are needed")
    if "file" in value:
        raise TypeError('NumPy cannot keep an array named "file"')
    sink = io.BytesIO()
    np.savez_compressed(sink, allow_pickle=False, **value)
    return sink.getvalue()


def load_npz(data: bytes) -> dict[str, Any]:
    """Several arrays by name; a file with a pickle in it is refused with a ValueError."""
    with _numpy().load(io.BytesIO(data), allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}
