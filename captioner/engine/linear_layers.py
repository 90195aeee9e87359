"""Linear layers that run faster than as transformers builds them, with the same results up to rounding.

Layers of the same input become one product, and on a CPU weights are arranged where that pays (see arranged.py).
"""

from collections import Counter

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from captioner.engine import operators
from captioner.engine.arranged import fastest
from captioner.engine.experts import Experts
from captioner.engine.weights import is_plain

# The children of one module that get the same input, in the order in which it calls them.
GROUPS = (
    ("q_proj", "k_proj", "v_proj"),
    ("gate_proj", "up_proj"),
    ("in_proj_qkv", "in_proj_z", "in_proj_b", "in_proj_a"),
)
STEP_ROWS = 16  # of a decode step on a CPU
PROBED_ROWS = STEP_ROWS, 64  # and of a piece of a prompt


class Product(nn.Module):
    """One or more linear layers of the same input (..., in) as one product."""

    def __init__(self, layers: list[nn.Linear], is_large: bool, keep: bool = False) -> None:
        """Take the weights of the layers, or copy them if something else uses them, too (keep)."""
        super().__init__()
        self._layers = () if keep else tuple(layers)  # not as submodules
        self.sizes = [layer.out_features for layer in layers]
        self.num_outputs = sum(self.sizes)
        weights = [layer.weight.data for layer in layers]
        weight = weights[0] if len(weights) == 1 else torch.cat(weights)
        biases = [layer.bias.data for layer in layers if layer.bias is not None]
        self.bias = torch.cat(biases) if biases else None
        arrange = fastest(weight, PROBED_ROWS if is_large else (STEP_ROWS,), is_large)
        self.arranged = arrange(weight) if arrange else None
        self._weight = weight.new_empty(0) if self.arranged else weight
        self._number = operators.number_of(self)
        self._outputs: list[Tensor] = []  # of the last input, until the last part has taken its own
        for layer, part in zip(self._layers, weight.split(self.sizes), strict=not keep):
            layer.weight.data = weight.new_empty(0) if self.arranged else part  # no weight lies in memory twice

    def forward(self, inputs: Tensor) -> Tensor:
        if self.arranged is None:
            return linear(inputs, self._weight, self.bias)
        if torch.compiler.is_compiling():
            return operators.product(inputs, self._number, self.num_outputs)
        return self.arranged.product(inputs, self.bias)

    def take(self, part: int, inputs: Tensor) -> Tensor:
        """Return the output of one part; the first computes all."""
        if not part:
            self._outputs = list(self(inputs).split(self.sizes, -1))
        output = self._outputs[part]
        if part == len(self.sizes) - 1:
            self._outputs = []
        return output

    def restore(self) -> None:
        """Give each layer its own weight back."""
        weight = self.arranged.restore() if self.arranged else self._weight
        for layer, own in zip(self._layers, weight.split(self.sizes), strict=False):
            layer.weight.data = own


class Part(nn.Module):
    """Stands for one linear layer of a Product."""

    product: Product  # not as a submodule

    def __init__(self, product: Product, part: int) -> None:
        super().__init__()
        vars(self)["product"] = product
        self._part = part

    def forward(self, inputs: Tensor) -> Tensor:
        return self.product.take(self._part, inputs)


class LinearLayers:
    """Replaces the linear layers of a model, and the experts of its mixtures, until release()."""

    def __init__(self, model: nn.Module, is_large: bool = False) -> None:
        """is_large: as in fastest()."""
        self._is_large = is_large
        self._shared = _shared_weights(model)
        self._replaced: list[tuple[nn.Module, str, nn.Linear]] = []
        self._products: list[Product] = []
        for parent in list(model.modules()):
            layers = {name: child for name, child in parent.named_children() if type(child) is nn.Linear}
            plain = {
                name: each
                for name, each in layers.items()
                if is_plain(each.weight) and not (each._forward_hooks or each._forward_pre_hooks)
            }
            for names in _groups(plain):
                self._replace(parent, names, [plain[name] for name in names])
        self._experts = Experts(model, STEP_ROWS, is_large)

    def release(self) -> None:
        """Restore the layers that the model had before."""
        for product in self._products:
            product.restore()
        for parent, name, layer in self._replaced:
            setattr(parent, name, layer)
        self._products, self._replaced = [], []
        self._experts.release()

    def note(self) -> str:
        """Return the text for the capability report."""
        joined = sum(len(product.sizes) for product in self._products if len(product.sizes) > 1)
        arranged: Counter[str] = Counter()
        for product in self._products:
            if product.arranged:
                arranged[product.arranged.note] += len(product.sizes)
        notes = [f"{joined} joined"] * bool(joined) + [f"{count} {note}" for note, count in arranged.items()]
        if self._experts.count:
            notes.append(f"experts of {self._experts.count} layers {self._experts.note}")
        return ", ".join(notes) or "as in torch"

    def _replace(self, parent: nn.Module, names: tuple[str, ...], layers: list[nn.Linear]) -> None:
        product = Product(layers, self._is_large, keep=id(layers[0].weight) in self._shared)
        if len(layers) == 1 and product.arranged is None:
            return
        self._products.append(product)
        for part, (name, layer) in enumerate(zip(names, layers, strict=True)):
            setattr(parent, name, Part(product, part) if len(layers) > 1 else product)
            self._replaced.append((parent, name, layer))


def _groups(layers: dict[str, nn.Linear]) -> list[tuple[str, ...]]:
    """Return the names of the layers that become one product, and each other name alone."""
    joined = [names for names in GROUPS if layers.keys() >= set(names) and _are_alike([layers[n] for n in names])]
    return joined + [(name,) for name in layers if not any(name in names for names in joined)]


def _are_alike(layers: list[nn.Linear]) -> bool:
    kinds = {(layer.in_features, layer.bias is None, layer.weight.dtype, layer.weight.device) for layer in layers}
    return len(kinds) == 1


def _shared_weights(model: nn.Module) -> set[int]:
    """Return the ids of parameters that several modules have, such as the embedding and the last layer."""
    seen: set[int] = set()
    shared: set[int] = set()
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            (shared if id(parameter) in seen else seen).add(id(parameter))
    return shared
