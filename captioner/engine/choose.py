"""Which core runs a model."""

from transformers import PreTrainedModel

from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.core import Core
from captioner.engine.packed import why_unsupported
from captioner.engine.static import StaticCore
from captioner.values import ModelSpec

GENERATE_BATCH = 8
PACKED_ATTENTION = ("auto", "sdpa")


def choose_core(model: PreTrainedModel, spec: ModelSpec) -> Core:
    """Continuous batching where the model can, else batches through `generate`; the report says which and why.

    Raises ModelError when the memory left beside the model is too small for a single clip.
    """
    reason = why_unsupported(model)
    if not reason and spec.attention not in PACKED_ATTENTION:
        reason = f"attention is set to {spec.attention}"
    if reason:
        return StaticCore(model, spec.batch_size or GENERATE_BATCH, spec.compile, reason, spec.sage_attention)
    options = ContinuousOptions(
        max_slots=spec.batch_size,
        max_tokens=spec.max_tokens,
        attention=spec.attention,
        compile=spec.compile,
        sage_attention=spec.sage_attention,
    )
    return ContinuousCore(model, options)
