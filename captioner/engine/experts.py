"""Mixtures of experts on a CPU, with the weights of each expert arranged (see arranged.py)."""

from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers.integrations.moe import ALL_EXPERTS_FUNCTIONS

from captioner.engine.arranged import Way, fastest

IMPLEMENTATION = "captioner_experts"  # `_experts_implementation` in the config of the text tower selects it


class Experts:
    """Arranges the weights of the experts of a model, where that pays, until release()."""

    def __init__(self, model: nn.Module, num_rows: int, is_large: bool) -> None:
        """num_rows: in one step; each expert gets its share of them. is_large: as in fastest()."""
        self._modules: list[Any] = []
        self._before: dict[int, tuple[Any, str]] = {}
        for module in model.modules():
            arrange = _fastest(module, num_rows, is_large)
            if arrange is None:
                continue
            self._modules.append(module)
            config: Any = module.config
            self._before.setdefault(id(config), (config, config._experts_implementation))
            for parameter in cast(tuple[Any, Any], (module.gate_up_proj, module.down_proj)):
                parameter.arranged = [arrange(weight) for weight in parameter.data]
                parameter.data = parameter.new_empty(0)
        for config, _ in self._before.values():
            config._experts_implementation = IMPLEMENTATION

    @property
    def count(self) -> int:
        return len(self._modules)

    @property
    def note(self) -> str:
        """Return what arranged them, for the report."""
        return str(self._modules[0].gate_up_proj.arranged[0].note)

    def release(self) -> None:
        """Restore the weights and the implementation that the model had before."""
        for module in self._modules:
            for parameter in (module.gate_up_proj, module.down_proj):
                parameter.data = torch.stack([weight.restore() for weight in parameter.arranged])
                del parameter.arranged
        for config, implementation in self._before.values():
            config._experts_implementation = implementation
        self._modules, self._before = [], {}


def _fastest(module: Any, num_rows: int, is_large: bool) -> Way | None:
    """Return what arranges the weights of a mixture's experts best, or None if it is no mixture of the usual kind."""
    weight: Any = getattr(module, "gate_up_proj", None)
    usual = isinstance(weight, nn.Parameter) and weight.ndim == 3 and hasattr(module, "_apply_gate")
    if not usual or module.is_transposed or module.has_bias or module.has_post_expert_norm:
        return None
    each = num_rows * getattr(module.config, "num_experts_per_tok", 1) // len(weight)
    return fastest(weight.data[0], (max(1, each),), is_large)


def _run_experts(module: Any, hidden: Tensor, experts: Tensor, shares: Tensor) -> Tensor:
    """Run tokens (N, hidden) through the K experts (N, K) of each, added up by `shares` (N, K)."""
    chosen, order = experts.flatten().sort(stable=True)
    tokens = order // experts.shape[1]
    inputs, outputs, start = hidden[tokens], [], 0
    for expert, count in enumerate(chosen.bincount().tolist()):
        if count:
            gated = module._apply_gate(module.gate_up_proj.arranged[expert].product(inputs[start : start + count]))
            outputs.append(module.down_proj.arranged[expert].product(gated))
            start += count
    weighted = torch.cat(outputs) * shares.flatten()[order, None]
    return torch.zeros_like(hidden).index_add_(0, tokens, weighted.to(hidden.dtype))


ALL_EXPERTS_FUNCTIONS.register(IMPLEMENTATION, _run_experts)
