"""Rows are cut into the runs that cost the least, and attention over them is that over all."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from captioner.engine import row_groups
from captioner.engine.attention_backends import SdpaBackend, reference_attention
from captioner.engine.cache import SlotCache, SlotShape

CALL = 100  # tokens that cost as much as a call
TOKEN_BYTES = row_groups.CALL_BYTES // CALL


def cost(lengths, runs):
    return sum(CALL + len(lengths[run]) * max(lengths[run]) for run in runs)


@given(lengths=st.lists(st.integers(1, 600), min_size=1, max_size=9))
def test_no_other_cut_costs_less(lengths):
    runs = row_groups.cut_rows(lengths, TOKEN_BYTES)
    assert [i for run in runs for i in range(len(lengths))[run]] == [*range(len(lengths))]
    costs = []
    for cuts in itertools.product([False, True], repeat=len(lengths) - 1):
        bounds = [0, *(at for at, is_cut in enumerate(cuts, 1) if is_cut), len(lengths)]
        costs.append(cost(lengths, [slice(*pair) for pair in itertools.pairwise(bounds)]))
    assert cost(lengths, runs) == min(costs)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("slots", [[0, 1, 2, 3, 4, 5], [1, 2, 5]])
@torch.inference_mode()
def test_attention_of_rows_of_very_different_lengths(monkeypatch, dtype, slots):
    monkeypatch.setattr(row_groups, "CALL_BYTES", 1000)
    random = torch.Generator().manual_seed(0)
    cache = SlotCache(SlotShape((0,), (2, 16)), 6, 512, dtype, torch.device("cpu"))
    for kept in (cache.keys[0], cache.values[0]):
        kept.copy_(torch.randn(kept.shape, generator=random))
    used = [500, 3, 3, 1, 200, 190]
    queries = torch.randn(len(slots), 4, 16, generator=random).to(dtype)
    backend, lengths = SdpaBackend(), torch.tensor([used[slot] for slot in slots])
    plan = backend.plan_rows(cache, torch.tensor(slots), lengths, 6, max(lengths.tolist()))
    ours = backend.cached(queries, cache.keys[0], cache.values[0], plan, 0.25)
    assert len(plan[2]) > 1
    for row, slot in enumerate(slots):
        keys, values = cache.keys[0][slot, : used[slot]], cache.values[0][slot, : used[slot]]
        wanted = reference_attention(queries[row : row + 1], keys, values, (used[slot],), False)[0]
        torch.testing.assert_close(ours[row].float(), wanted, rtol=2e-2, atol=2e-2 if dtype != torch.float32 else 1e-5)
