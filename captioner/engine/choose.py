"""Choose the core that runs a model."""

from transformers import PreTrainedModel

from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.core import Core
from captioner.engine.packed import why_unsupported
from captioner.engine.static import StaticCore
from captioner.values import ModelSpec

STATIC_BATCH = 8
PACKED_ATTENTION = ("auto", "sdpa")


def choose_core(model: PreTrainedModel, spec: ModelSpec) -> Core:
    """Return a ContinuousCore if it supports the model, else a StaticCore; the report names it and the reason.

    Raises ModelError if the free memory is too small for a single clip.
    """
    reason = why_unsupported(model)
    if not reason and spec.attention not in PACKED_ATTENTION:
        reason = f"attention is set to {spec.attention}"
    if reason:
        return StaticCore(model, spec.batch_size or STATIC_BATCH, spec.compile, reason, spec.sage_attention)
    options = ContinuousOptions(
        max_slots=spec.batch_size,
        max_tokens=spec.max_tokens,
        attention=spec.attention,
        compile=spec.compile,
        sage_attention=spec.sage_attention,
    )
    return ContinuousCore(model, options)
