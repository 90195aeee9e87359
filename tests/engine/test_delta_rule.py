"""One token of a gated DeltaNet gives what the functions of transformers give."""

import inspect

import pytest
import torch
from transformers.models.qwen3_5 import modeling_qwen3_5 as theirs

from captioner.engine.delta_rule import convolve_step, delta_rule_step


def draw(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape) + shape[-1])).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("rows", "key_heads", "heads", "key_dim", "dim"), [(1, 2, 2, 8, 8), (5, 2, 6, 16, 8)])
def test_delta_rule(rows, key_heads, heads, key_dim, dim, dtype):
    query, key = draw(rows, 1, key_heads, key_dim, dtype=dtype), 3 * draw(rows, 1, key_heads, key_dim, dtype=dtype)
    value, state = draw(rows, 1, heads, dim, dtype=dtype), draw(rows, heads, key_dim, dim)
    gates = {"g": -draw(rows, 1, heads).abs(), "beta": draw(rows, 1, heads, dtype=dtype).sigmoid()}
    reference = inspect.unwrap(theirs.torch_recurrent_gated_delta_rule)
    wanted, wanted_state = reference(
        query, key, value, **gates, initial_state=state.clone(), output_final_state=True, use_qk_l2norm_in_kernel=True
    )
    out, new_state = delta_rule_step(query, key, value, **gates, initial_state=state, cu_seqlens=None)
    assert (out.dtype, out.shape) == (wanted.dtype, wanted.shape)
    torch.testing.assert_close(out, wanted)
    torch.testing.assert_close(new_state, wanted_state)
    assert new_state is state, "in place, so that a graph can hold it"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("bias", "activation"), [(False, "silu"), (True, "silu"), (True, None), (False, "gelu")])
def test_convolution(bias, activation, dtype):
    inputs, state, weight = draw(3, 6, 1, dtype=dtype), draw(3, 6, 4, dtype=dtype), draw(6, 4, dtype=dtype)
    rest = weight, draw(6, dtype=dtype) if bias else None, activation
    wanted_state = state.clone()
    wanted = inspect.unwrap(theirs.causal_conv1d_update)(inputs, wanted_state, *rest)
    torch.testing.assert_close(convolve_step(inputs, state, *rest), wanted)
    assert torch.equal(state, wanted_state)
