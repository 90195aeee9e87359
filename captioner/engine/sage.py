"""SageAttention: int8 attention over long prompts, used if it is installed and passes a test."""

from collections.abc import Callable

import torch
from torch import Tensor

from captioner.engine.attention_backends import Backend, Segments, reference_attention
from captioner.engine.core import first_line

SAGE_MIN_TOKENS = 1024  # for shorter prompts, quantizing costs more than the int8 product saves
SAGE_HEAD_DIMS = (64, 96, 128)


class SageBackend:
    """SageAttention (https://arxiv.org/abs/2410.02367) for long prompts, the given back end for everything else.

    Its kernel subtracts the mean of the keys IN PLACE, which would damage the cache, so it gets a centered copy.
    Centering changes no softmax, since it shifts all scores of a row equally.
    """

    def __init__(self, base: Backend, kernel: Callable[..., Tensor]) -> None:
        self.name, self._base, self._kernel = f"{base.name}, SageAttention for long prompts", base, kernel
        self.plan_rows, self.cached, self.round_up = base.plan_rows, base.cached, base.round_up

    def packed(self, q: Tensor, k: Tensor, v: Tensor, segments: Segments, causal: bool, scale: float) -> Tensor:
        if not causal or segments.longest < SAGE_MIN_TOKENS:
            return self._base.packed(q, k, v, segments, causal, scale)
        out, start = torch.empty_like(q), 0
        for length in segments.lengths:
            part = slice(start, start + length)
            if length >= SAGE_MIN_TOKENS:
                out[part] = self._long(q[part], k[part], v[part], scale)
            else:
                alone = Segments.from_lengths([length], q.device)
                out[part] = self._base.packed(q[part], k[part], v[part], alone, causal, scale)
            start += length
        return out

    def continued(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        return self._base.continued(q, k, v, scale)

    def _long(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """Attend causally with SageAttention: q (T, H, D), k and v (T, G, D) -> (T, H, D)."""
        k = k - k.mean(0, keepdim=True)
        q, k, v = (x.transpose(0, 1)[None].contiguous() for x in (q, k, v))
        out = self._kernel(q, k, v, tensor_layout="HND", is_causal=True, sm_scale=scale, smooth_k=False)
        return out[0].transpose(0, 1)


def with_sage(
    base: Backend, device: torch.device, dtype: torch.dtype, heads: int, groups: int, dim: int
) -> tuple[Backend, str]:
    """Return a back end that uses SageAttention if possible, and "active ..." or why it is not active."""
    if device.type != "cuda":
        return base, "not active: needs an NVIDIA GPU"
    if dim not in SAGE_HEAD_DIMS:
        return base, f"not active: the model's head dimension {dim} is not one of {SAGE_HEAD_DIMS}"
    try:
        from sageattention import sageattn  # optional; imports Triton
    except Exception as error:  # a broken installation may raise anything
        return base, f"not active: {first_line(error, 160)}"
    backend = SageBackend(base, sageattn)
    if wrong := _test_sage(backend, device, dtype, heads, groups, dim):
        return base, f"not active: {wrong}"
    return backend, f"active for prompts of {SAGE_MIN_TOKENS} tokens and more"


@torch.inference_mode()
def _test_sage(
    backend: SageBackend, device: torch.device, dtype: torch.dtype, heads: int, groups: int, dim: int
) -> str:
    """Check the relative error of one long segment and that the input is unchanged; return "" or what is wrong."""
    random = torch.Generator().manual_seed(0)
    shapes = ((SAGE_MIN_TOKENS, count, dim) for count in (heads, groups, groups))
    q, k, v = (torch.randn(shape, generator=random).to(device, dtype) for shape in shapes)
    before = k.clone()
    try:
        ours = backend.packed(q, k, v, Segments.from_lengths([SAGE_MIN_TOKENS], device), True, dim**-0.5).float()
    except Exception as error:
        return first_line(error, 160)
    reference = reference_attention(q, k, v, (SAGE_MIN_TOKENS,), True)
    relative_error = ((ours - reference).norm() / reference.norm()).item()
    if not torch.equal(k, before):
        return "it changes its input"
    return "" if relative_error < 0.05 else f"relative error {relative_error:.2g}"  # int8 products: about 1 % to 2 %
