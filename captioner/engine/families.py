"""The families of models that the packed engine runs, and how the modules of each differ.

To add a family, write one class and list it in FAMILIES; docs/model-families.md explains each method.
"""

from typing import Any, Protocol, cast

from torch import Tensor, nn
from transformers import PreTrainedConfig, PreTrainedModel

from captioner.engine.cache import SlotShape
from captioner.engine.linear_attention import LinearLayer

FULL, LINEAR = "full_attention", "linear_attention"


class Family(Protocol):
    """A family of models that have Qwen3-VL's processor and inputs of the vision tower."""

    model_types: tuple[str, ...]  # of the configs
    layer_kinds: frozenset[str]  # that the text tower may consist of

    def slot_shape(self, config: PreTrainedConfig) -> SlotShape:
        """Return what a slot keeps. config: that of the text tower."""

    def deepstack(self, encoded: Any) -> list[Tensor] | None:
        """Return the embeddings (V, hidden) that the vision tower adds to the first text layers, if it does."""

    def linear_layers(self, text_tower: nn.Module) -> list[LinearLayer]:
        """Return the modules that linear_attention.PackedLinear has to run."""


class Qwen3VL(Family):
    """Qwen3-VL, dense and mixtures of experts, and Cosmos3 from its towers: full attention in every layer."""

    model_types = ("qwen3_vl", "qwen3_vl_moe", "cosmos3_omni")
    layer_kinds = frozenset({FULL})

    def slot_shape(self, config: PreTrainedConfig) -> SlotShape:
        return SlotShape(tuple(range(config.num_hidden_layers)), (config.num_key_value_heads, config.head_dim))

    def deepstack(self, encoded: Any) -> list[Tensor] | None:
        return encoded.deepstack_features

    def linear_layers(self, text_tower: nn.Module) -> list[LinearLayer]:
        return []


class Qwen35(Family):
    """Qwen3.5, Qwen3.6 and Qwen3.8, dense and mixtures of experts: three of four layers are a gated DeltaNet."""

    model_types = ("qwen3_5", "qwen3_5_moe")
    layer_kinds = frozenset({FULL, LINEAR})

    def slot_shape(self, config: PreTrainedConfig) -> SlotShape:
        numbered = [*enumerate(config.layer_types)]
        layers = {kind: tuple(i for i, each in numbered if each == kind) for kind in self.layer_kinds}
        heads, keys, values = config.linear_num_value_heads, config.linear_key_head_dim, config.linear_value_head_dim
        channels = 2 * config.linear_num_key_heads * keys + heads * values
        return SlotShape(
            layers[FULL],
            (config.num_key_value_heads, config.head_dim),
            layers[LINEAR],
            (channels, config.linear_conv_kernel_dim),
            (heads, keys, values),
        )

    def deepstack(self, encoded: Any) -> list[Tensor] | None:
        return None

    def linear_layers(self, text_tower: nn.Module) -> list[LinearLayer]:
        layers = [module for name, module in text_tower.named_modules() if name.endswith(".linear_attn")]
        return cast(list[LinearLayer], layers)


FAMILIES: tuple[Family, ...] = (Qwen3VL(), Qwen35())
MODEL_TYPES = tuple(name for family in FAMILIES for name in family.model_types)


def family_of(model: PreTrainedModel) -> Family | None:
    """Return the family of a model, or None if it has none here."""
    return next((family for family in FAMILIES if model.config.model_type in family.model_types), None)


def why_unsupported(model: PreTrainedModel) -> str:
    """Return why this model cannot run packed, or ""."""
    family = family_of(model)
    if family is None:
        return f"{model.config.model_type} is not one of {', '.join(MODEL_TYPES)}"
    kinds = set(getattr(model.config.text_config, "layer_types", None) or ()) - family.layer_kinds
    return f"its text tower has layers of {', '.join(sorted(kinds))}" if kinds else ""
