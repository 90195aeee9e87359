"""Operators that compiled layers call as they are: attention over slots, and products with arranged weights.

torch.compile cannot look into either. As operators, they do not cut a layer into several compiled parts. All layers
share one compiled code, so what differs between them is found by a number in a tensor: an int would be compiled in.
"""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor

_library = torch.library.Library("captioner", "DEF")
_library.define("product(Tensor inputs, Tensor number, int num_outputs) -> Tensor")
_library.define("attend(Tensor queries, Tensor keys, Tensor values, Tensor layer, float scale) -> Tensor")

_numbers = itertools.count()
_products: "WeakValueDictionary[int, Any]" = WeakValueDictionary()
_attend: ContextVar[Callable[..., Tensor]] = ContextVar("attend")


def number_of(product: Any) -> Tensor:
    """Return the number, int64 (), under which the operator finds a module of arranged weights."""
    number = next(_numbers)
    _products[number] = product
    return torch.tensor(number)


@contextmanager
def attending(attend: Callable[..., Tensor]) -> Iterator[None]:
    """Let the operator call attend(layer, queries, keys, values, scale) in this context."""
    token = _attend.set(attend)
    try:
        yield
    finally:
        _attend.reset(token)


def product(inputs: Tensor, number: Tensor, num_outputs: int) -> Tensor:
    """Return the output (..., num_outputs) of the module of this number, for inputs (..., in)."""
    output: Tensor = torch.ops.captioner.product.default(inputs, number, num_outputs)
    return output


def attend(queries: Tensor, keys: Tensor, values: Tensor, layer: Tensor, scale: float) -> Tensor:
    """Attend in the layer of this number, int64 (): queries (N, H, D), keys and values (N, G, D) -> (N, H, D)."""
    output: Tensor = torch.ops.captioner.attend.default(queries, keys, values, layer, scale)
    return output


def _run_product(inputs: Tensor, number: Tensor, num_outputs: int) -> Tensor:
    output: Tensor = _products[int(number)].forward(inputs)
    return output


def _run_attend(queries: Tensor, keys: Tensor, values: Tensor, layer: Tensor, scale: float) -> Tensor:
    return _attend.get()(int(layer), queries, keys, values, scale).contiguous()


_library.impl("product", _run_product, "CompositeExplicitAutograd")
_library.impl("attend", _run_attend, "CompositeExplicitAutograd")
torch.library.register_fake("captioner::product", lambda x, _, size: x.new_empty((*x.shape[:-1], size)), lib=_library)
torch.library.register_fake(
    "captioner::attend",
    lambda q, k, v, layer, scale: torch.empty_like(q, memory_format=torch.contiguous_format),
    lib=_library,
)
