"""Implementations of attention over packed requests; a numeric self-test selects one for each device."""

import functools
import itertools
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from captioner.engine.cache import SlotCache, SlotShape
from captioner.engine.core import first_line
from captioner.engine.row_groups import cut_rows

log = logging.getLogger(__name__)

TESTED_SLOT_TOKENS = 2304  # so long that a kernel splits a slot among its blocks


@dataclass(frozen=True, eq=False)
class Segments:
    """Requests or frames laid end to end, each of which attends only to itself."""

    lengths: tuple[int, ...]  # on the host, so that no back end has to wait for the device
    bounds: Tensor  # int32 (len(lengths) + 1,) on the device: the start of each, and the end

    @classmethod
    def from_lengths(cls, lengths: list[int], device: torch.device) -> "Segments":
        """Build segments of these lengths, with the bounds on `device`."""
        bounds = torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32)
        return cls(tuple(lengths), bounds.to(device, non_blocking=True))

    @property
    def longest(self) -> int:
        return max(self.lengths)

    @functools.cached_property
    def causal_rows(self) -> tuple[Tensor, Tensor]:
        """The start of each token's segment, and how many tokens from there it attends to, on the CPU: int64 (N,)."""
        lengths, bounds = torch.tensor(self.lengths), self.bounds.long()
        starts = bounds[:-1].repeat_interleave(lengths)
        return starts, torch.arange(1, len(starts) + 1) - starts


class Backend(Protocol):
    """An implementation of attention. Shapes: N packed tokens, B rows, H query heads, G key heads, D head dimension."""

    name: str

    def packed(self, q: Tensor, k: Tensor, v: Tensor, segments: Segments, causal: bool, scale: float) -> Tensor:
        """Attend within each segment: q (N, H, D), k and v (N, G, D) -> (N, H, D)."""

    def continued(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """Attend causally from the last N of T tokens: q (N, H, D), k and v (T, G, D) -> (N, H, D)."""

    def plan_rows(self, cache: SlotCache, slots: Tensor, used: Tensor, num_slots: int, longest: int) -> Any:
        """Return what cached() needs and all layers share.

        slots int64 (B,), in order and all < num_slots, and used int64 (B,), the valid tokens of each, all <= longest.
        """

    def cached(self, q: Tensor, k: Tensor, v: Tensor, plan: Any, scale: float) -> Tensor:
        """Attend from one new token to each row's slot: q (B, H, D), k and v (slots, tokens, G, D) -> (B, H, D)."""

    def round_up(self, longest: int, limit: int) -> int:
        """Return a `longest` for plan_rows() that changes rarely, for steps whose shapes must stay the same."""


class SdpaBackend:
    """torch's scaled_dot_product_attention, on every device and dtype, without copies of keys and values."""

    name = "SDPA"

    def packed(self, q: Tensor, k: Tensor, v: Tensor, segments: Segments, causal: bool, scale: float) -> Tensor:
        out, start = torch.empty_like(q), 0
        for length, run in itertools.groupby(segments.lengths):
            count = sum(1 for _ in run)
            # Segments of equal length form one batch, except with grouped heads, which need the batch dimension.
            batch = count if q.shape[1] == k.shape[1] else 1
            for _ in range(count // batch):
                end = start + batch * length
                queries, keys, values = (
                    x[start:end].view(batch, length, *x.shape[1:]).transpose(1, 2) for x in (q, k, v)
                )
                out[start:end] = _grouped(queries, keys, values, causal, scale).reshape(-1, *q.shape[1:])
                start = end
        return out

    def continued(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        num_tokens, total = len(q), len(k)
        mask = torch.ones(num_tokens, total, dtype=torch.bool, device=q.device).tril(total - num_tokens)
        queries, keys, values = (x[None].transpose(1, 2) for x in (q, k, v))
        return _grouped(queries, keys, values, False, scale, mask)[0]

    def plan_rows(self, cache: SlotCache, slots: Tensor, used: Tensor, num_slots: int, longest: int) -> Any:
        if len(slots) < num_slots:
            used = torch.ones(num_slots, dtype=torch.int64, device=slots.device).index_copy_(0, slots, used)
        outside = torch.arange(longest, device=slots.device) >= used[:, None]
        # in the model's dtype, so that not each layer converts it
        mask = torch.zeros(outside.shape, dtype=cache.dtype, device=slots.device).masked_fill_(outside, -math.inf)
        mask = mask[:, None, None]  # (num_slots, 1, 1, longest)
        if slots.device.type != "cpu":  # lengths cannot be read without a wait
            return slots, num_slots, [(slice(num_slots), longest, mask)]
        lengths, runs = used.tolist(), []
        for run in cut_rows(lengths, cache.token_bytes):
            end = max(lengths[run])
            runs.append((run, end, mask[run, ..., :end] if min(lengths[run]) < end else None))
        return slots, num_slots, runs

    def cached(self, q: Tensor, k: Tensor, v: Tensor, plan: Any, scale: float) -> Tensor:
        slots, num_slots, runs = plan
        queries = q.view(len(q), k.shape[2], -1, k.shape[3])
        if len(q) < num_slots:  # else the rows are all slots in order
            queries = q.new_zeros(num_slots, *queries.shape[1:]).index_copy_(0, slots, queries)
        parts = []
        for run, longest, mask in runs:
            keys, values = (x[run, :longest].transpose(1, 2) for x in (k, v))
            parts.append(scaled_dot_product_attention(queries[run], keys, values, mask, scale=scale))
        out = parts[0] if len(parts) == 1 else torch.cat(parts)
        return (out if len(q) == num_slots else out.index_select(0, slots)).reshape(q.shape)

    def round_up(self, longest: int, limit: int) -> int:
        return min(-(-longest // 256) * 256, limit)


def _grouped(q: Tensor, k: Tensor, v: Tensor, causal: bool, scale: float, mask: Tensor | None = None) -> Tensor:
    """Attend with grouped heads: q (B, H, T, D), k and v (B, G, T, D) -> (B, T, H, D). H > G requires B = 1."""
    num_tokens, heads = q.shape[2], q.shape[1]
    repeats = heads // k.shape[1]
    if repeats > 1:
        q = q.view(k.shape[1], repeats, num_tokens, -1).transpose(0, 1)
        k, v = (x.expand(repeats, -1, -1, -1) for x in (k, v))
    out = scaled_dot_product_attention(q, k, v, mask, is_causal=causal and num_tokens > 1, scale=scale)
    if repeats > 1:
        out = out.transpose(0, 1).reshape(1, heads, num_tokens, -1)
    return out.transpose(1, 2)


class VarlenBackend:
    """torch's built-in FlashAttention for sequences of different lengths: one call a layer, directly on the slots."""

    def __init__(self, name: str, kernel: Callable[..., Tensor]) -> None:
        self.name, self._kernel = name, kernel

    def packed(self, q: Tensor, k: Tensor, v: Tensor, segments: Segments, causal: bool, scale: float) -> Tensor:
        longest = segments.longest
        return self._kernel(q, k, v, segments.bounds, segments.bounds, longest, longest, None, causal, scale)

    def continued(self, q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
        """FlashAttention aligns the mask with the end of both sequences, which is what is wanted."""
        first, second = (torch.arange(2, dtype=torch.int32, device=q.device) * len(x) for x in (q, k))
        return self._kernel(q, k, v, first, second, len(q), len(k), None, True, scale)

    def plan_rows(self, cache: SlotCache, slots: Tensor, used: Tensor, num_slots: int, longest: int) -> Any:
        starts = torch.zeros(len(slots) + 1, dtype=torch.int32, device=slots.device)
        starts[:-1] = slots * cache.slot_tokens
        rows = torch.arange(len(slots) + 1, dtype=torch.int32, device=slots.device)
        return rows, starts, used.to(torch.int32), longest

    def cached(self, q: Tensor, k: Tensor, v: Tensor, plan: Any, scale: float) -> Tensor:
        rows, starts, used, longest = plan
        return self._kernel(q, k.flatten(0, 1), v.flatten(0, 1), rows, starts, 1, longest, used, False, scale)

    def round_up(self, longest: int, limit: int) -> int:
        return limit  # lengths are read from the device, so one bound serves all


def _public_varlen(
    q: Tensor, k: Tensor, v: Tensor, bounds_q: Tensor, bounds_k: Tensor,
    longest_q: int, longest_k: int, used: Tensor | None, causal: bool, scale: float,
) -> Tensor:  # fmt: skip
    """Call torch.nn.attention.varlen, which supports `seqused_k` and grouped heads since torch 2.14 (not in 2.10).

    It is the second choice: on Hopper and Blackwell it runs the vision tower's frames through cuDNN, which spends 55 to
    70 ms on a plan for each new shape.
    """
    from torch.nn.attention.varlen import varlen_attn  # not in every supported torch

    window, grouped = (-1, 0) if causal else (-1, -1), q.shape[1] != k.shape[1]
    out = varlen_attn(
        q, k, v, bounds_q, bounds_k, longest_q, longest_k,
        scale=scale, window_size=window, enable_gqa=grouped, seqused_k=used,
    )  # fmt: skip
    assert isinstance(out, Tensor)  # a tuple only with return_aux
    return out


def _private_varlen(
    q: Tensor, k: Tensor, v: Tensor, bounds_q: Tensor, bounds_k: Tensor,
    longest_q: int, longest_k: int, used: Tensor | None, causal: bool, scale: float,
) -> Tensor:  # fmt: skip
    """Call the operator under the public function: always FlashAttention, in all supported versions of torch."""
    return torch.ops.aten._flash_attention_forward(
        q, k, v, bounds_q, bounds_k, longest_q, longest_k, 0.0, causal, False, scale=scale, seqused_k=used
    )[0]


def pick_backend(
    device: torch.device, dtype: torch.dtype, heads: int, groups: int, dim: int, wanted: str = "auto"
) -> tuple[Backend, str]:
    """Return the fastest back end that passes the self-test, and why a faster one was rejected ("" if none was)."""
    if wanted == "sdpa":
        return SdpaBackend(), "chosen in the settings"
    if device.type != "cuda":
        return SdpaBackend(), ""
    if dtype == torch.float32:
        return SdpaBackend(), "flash attention has no float32"
    reasons = []
    for name, kernel in (("torch flash operator", _private_varlen), ("torch varlen attention", _public_varlen)):
        backend = VarlenBackend(name, kernel)
        reason = self_test(backend, device, dtype, heads, groups, dim)
        if not reason:
            return backend, ""
        reasons.append(f"{name}: {reason}")
    log.warning("falling back to SDPA: %s", "; ".join(reasons))
    return SdpaBackend(), "; ".join(reasons)


@torch.inference_mode()
def self_test(backend: Backend, device: torch.device, dtype: torch.dtype, heads: int, groups: int, dim: int) -> str:
    """Compare a back end with plain float32 arithmetic; return "" or what is wrong."""
    random = torch.Generator(device).manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random, device=device).to(dtype)

    long, short = (Segments.from_lengths(lengths, device) for lengths in ([7, 1, 240, 240, 130], [7, 1, 90, 90]))
    num_tokens = sum(long.lengths)
    q, k, v = draw(num_tokens, heads, dim), draw(num_tokens, groups, dim), draw(num_tokens, 3, groups, dim)[:, 2]
    shape = 4, TESTED_SLOT_TOKENS, groups, dim
    cache = SlotCache(SlotShape((0,), (groups, dim)), *shape[:2], dtype, device)
    cache.keys[0].copy_(draw(*shape))
    cache.values[0].copy_(draw(*shape))
    try:
        for segments, causal in ((long, True), (long, False), (short, True)):
            queries, keys, values = (x[: sum(segments.lengths)] for x in (q, k, v))
            ours = backend.packed(queries, keys, values, segments, causal, dim**-0.5)
            if wrong := _compare(ours, reference_attention(queries, keys, values, segments.lengths, causal), dtype):
                return f"packed: {wrong}"
        whole = q[:240], k[:240], v[:240]
        ours = backend.continued(whole[0][-70:], *whole[1:], dim**-0.5)
        if wrong := _compare(ours, reference_attention(*whole, (240,), True)[-70:], dtype):
            return f"continued: {wrong}"
        wrong = _test_cached(backend, cache, q[:3], dtype)
        return f"cached: {wrong}" if wrong else ""
    except Exception as error:  # a missing kernel may fail in any way
        return first_line(error, 160)
    finally:
        if device.type == "cuda":
            del cache
            torch.cuda.empty_cache()


def _test_cached(backend: Backend, cache: SlotCache, q: Tensor, dtype: torch.dtype) -> str:
    slots, used = (torch.tensor(x, device=q.device) for x in ([2, 0, 3], [5, TESTED_SLOT_TOKENS - 100, 333]))
    plan = backend.plan_rows(cache, slots, used, 4, TESTED_SLOT_TOKENS)
    ours = backend.cached(q, cache.keys[0], cache.values[0], plan, q.shape[-1] ** -0.5)
    rows = []
    for row, (slot, length) in enumerate(zip(slots.tolist(), used.tolist(), strict=True)):
        keys, values = cache.keys[0][slot, :length], cache.values[0][slot, :length]
        rows.append(reference_attention(q[row : row + 1], keys, values, (length,), False))
    return _compare(ours, torch.cat(rows), dtype)


def reference_attention(q: Tensor, k: Tensor, v: Tensor, lengths: tuple[int, ...], causal: bool) -> Tensor:
    """Return softmax(q k^T / sqrt(D)) v in float32 for each segment: q (N, H, D), k and v (N, G, D) -> (N, H, D)."""
    out, start = [], 0
    for length in lengths:
        part, repeats = slice(start, start + length), q.shape[1] // k.shape[1]
        keys, values = (x[part].float().repeat_interleave(repeats, 1).transpose(0, 1) for x in (k, v))
        scores = q[part].float().transpose(0, 1) @ keys.transpose(1, 2) * q.shape[-1] ** -0.5
        if causal:
            scores = scores.masked_fill(torch.ones_like(scores, dtype=torch.bool).triu(1), float("-inf"))
        out.append((scores.softmax(-1) @ values).transpose(0, 1))
        start += length
    return torch.cat(out)


def _compare(ours: Tensor, reference: Tensor, dtype: torch.dtype) -> str:
    tolerance = 1e-4 if dtype == torch.float32 else 3e-2  # rounding to 16 bits costs up to 0.5 %
    error = ((ours.float() - reference).norm(dim=-1) / reference.norm(dim=-1)).max().item()
    return "" if error <= tolerance else f"differs by {error:.2g} of its length"
