"""Choose the core that runs a model."""

from transformers import PreTrainedModel

from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.core import Core
from captioner.engine.families import why_unsupported
from captioner.engine.static import StaticCore
from captioner.values import ModelSpec

STATIC_BATCH = 8
PACKED_ATTENTION = ("auto", "sdpa")


def choose_core(model: PreTrainedModel, spec: ModelSpec) -> Core:
    """Return a ContinuousCore if it supports the model, else a StaticCore. Raises ModelError if no clip would fit."""
    reason = why_unsupported(model)
    if not reason and spec.attention not in PACKED_ATTENTION:
        reason = f"attention is set to {spec.attention}"
    if reason:
        return StaticCore(model, spec.batch_size or STATIC_BATCH, spec.compile, reason, spec.sage_attention)
    options = ContinuousOptions(spec.batch_size, spec.max_tokens, spec.attention, spec.compile, spec.sage_attention)
    return ContinuousCore(model, options)
