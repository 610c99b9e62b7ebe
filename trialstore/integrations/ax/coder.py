"""Ax objects as plain values and back, with Ax's own encoders and with those of a registry bundle."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ax.exceptions.storage import JSONEncodeError
from ax.storage.json_store.decoder import object_from_json
from ax.storage.json_store.encoder import object_to_json
from ax.storage.json_store.encoders import metric_to_dict, runner_to_dict
from ax.storage.json_store.registry import (
    CORE_CLASS_DECODER_REGISTRY,
    CORE_CLASS_ENCODER_REGISTRY,
    CORE_DECODER_REGISTRY,
    CORE_ENCODER_REGISTRY,
)

from trialstore.integrations.ax.metric import TrialStoreMetric
from trialstore.integrations.ax.runner import TrialStoreRunner
from trialstore.integrations.ax.values import decode_value, encode_value
from trialstore.model.errors import UsageError

__all__ = ["Coder", "coder_of"]

_OWN: dict[Any, Callable[[Any], dict[str, Any]]] = {
    TrialStoreRunner: TrialStoreRunner.to_json,
    TrialStoreMetric: metric_to_dict,
}
_PLAIN_TYPES = frozenset({"Tensor", "OrderedDict"})


@dataclass(frozen=True, slots=True)
class Coder:
    """Encodes and decodes Ax objects.

    Attributes:
        encoders, class_encoders: Ax's registries by type, for objects and for classes.
        decoders, class_decoders: By the name of the type.
    """

    encoders: Mapping[type, Callable[[Any], dict[str, Any]]]
    class_encoders: Mapping[type, Callable[[Any], dict[str, Any]]]
    decoders: Mapping[str, Any]
    class_decoders: Mapping[str, Any]

    def encode(self, value: Any) -> Any:
        """An Ax object as values that `trialstore.model.codec` encodes; JSON as Ax itself writes it.

        Raises:
            UsageError: Ax has no encoder for something in it.
        """
        try:
            return object_to_json(value, encoder_registry=self.encoders, class_encoder_registry=self.class_encoders)
        except JSONEncodeError as error:
            raise UsageError(
                f"Ax cannot encode this: {error}"[:500], hint="pass a RegistryBundle that knows the type"
            ) from error

    def decode(self, coded: Any) -> Any:
        """The object that `encode` encoded. What it is given is used up."""
        return object_from_json(coded, decoder_registry=self.decoders, class_decoder_registry=self.class_decoders)

    def shallow(self, value: Any) -> dict[str, Any]:
        """The members of an Ax object that are stored, as they are."""
        return dict(self.encoders[type(value)](value))

    def encode_any(self, value: Any) -> Any:
        """A value of any type, such as a runner's metadata; see `trialstore.integrations.ax.values`."""
        return encode_value(value, self._ax_only)

    def decode_any(self, coded: Any) -> Any:
        """The value that `encode_any` encoded."""
        return decode_value(coded, self.decode)

    def _ax_only(self, value: Any) -> Any:
        """What Ax makes of a value, if it can also read it again."""
        try:
            coded = object_to_json(value, encoder_registry=self.encoders, class_encoder_registry=self.class_encoders)
        except (JSONEncodeError, ValueError):
            coded = None
        kind = coded.get("__type", "") if isinstance(coded, dict) else ""
        if not kind or not (kind in self.decoders or kind in _PLAIN_TYPES or kind.startswith("torch_")):
            raise UsageError(
                "value of this type cannot be stored",
                hint="declare the type with trialstore.integrations.ax.storable",
                type=f"{type(value).__module__}:{type(value).__qualname__}",
            )
        return coded


def coder_of(source: Any = None) -> Coder:
    """The coder that knows Ax's types, ours, and those of a bundle.

    Args:
        source: An Ax `RegistryBundle`, or the `SQAConfig` of one; None for nothing more.
    """
    config = getattr(source, "sqa_config", source)
    if config is None:
        encoders: Mapping[Any, Any] = CORE_ENCODER_REGISTRY
        decoders: Mapping[str, Any] = CORE_DECODER_REGISTRY
        return Coder(
            {**encoders, **_OWN},
            CORE_CLASS_ENCODER_REGISTRY,
            {**decoders, **{cls.__name__: cls for cls in _OWN}},
            CORE_CLASS_DECODER_REGISTRY,
        )
    if not hasattr(config, "json_encoder_registry"):
        raise UsageError("not a registry bundle of Ax", bundle=type(source).__name__)
    runners, metrics = config.runner_registry, config.metric_registry
    return Coder(
        {
            **dict.fromkeys(runners, runner_to_dict),
            **dict.fromkeys(metrics, metric_to_dict),
            **config.json_encoder_registry,
            **_OWN,
        },
        config.json_class_encoder_registry,
        {
            **{cls.__name__: cls for cls in (*runners, *metrics)},
            **config.json_decoder_registry,
            **{cls.__name__: cls for cls in _OWN},
        },
        config.json_class_decoder_registry,
    )
