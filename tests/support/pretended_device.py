"""A pretended GPU: tensors that compute on the CPU, claim to be on cuda:0, and log what would make the host wait.

A wait is what synchronizes the host with the stream: reading a value, sizes that depend on values, and copies that do
not say non_blocking or whose host memory is not pinned.
"""

import sys
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

CUDA = torch.device("cuda", 0)
READS = {
    Tensor.item, Tensor.tolist, Tensor.numpy, Tensor.__bool__, Tensor.__int__, Tensor.__index__, Tensor.__float__,
    Tensor.nonzero, torch.nonzero, torch.equal, torch.allclose, Tensor.masked_select, torch.masked_select,
    torch.repeat_interleave, torch.unique, torch.bincount,
}  # fmt: skip
INDEXING = {Tensor.__getitem__, Tensor.__setitem__}
MAX_UNPINNED = 2048  # bytes: the driver takes so little along with the command


class OnDevice(Tensor):
    """A tensor of the pretended device."""

    device = CUDA
    is_cuda = True

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class PretendedDevice(TorchFunctionMode):
    """Everything on cuda:0 happens on the CPU; `waits` and `uploads` say where the host waited or copied."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []
        self.uploads: list[str] = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})

    def clear(self) -> None:
        self.waits.clear()
        self.uploads.clear()


_active: list[PretendedDevice] = []


@contextmanager
def pretended_device(monkeypatch):
    """Yield a PretendedDevice that is active, with stand-ins for the calls to CUDA itself."""
    device = PretendedDevice()

    class Event:
        def record(self):
            pass

        def synchronize(self):
            device.waits.append(f"event {_where()}")

    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "set_device", lambda device: None)
    _active.append(device)
    try:
        with device:
            yield device
    finally:
        _active.pop()


def move(model: nn.Module) -> nn.Module:
    """Put the weights of a model on the pretended device."""
    for module in model.modules():
        for store in (module._parameters, module._buffers):
            for name, tensor in store.items():
                if tensor is not None:
                    store[name] = tensor.data.as_subclass(OnDevice)
    return model


def as_kernel(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let a function be one kernel of the device: nothing in it is logged or counted."""

    def kernel(*args):
        plain = [arg.as_subclass(Tensor) if isinstance(arg, Tensor) else arg for arg in args]
        with torch._C.DisableTorchFunction(), _disable_current_modes():
            return function(*plain).as_subclass(OnDevice)

    return kernel


class CountCalls(TorchDispatchMode):
    """Counts the operators that launch work: views do not."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        cast_to_itself = func._schema.name == "aten::to" and result.data_ptr() == args[0].data_ptr()
        if not _is_view(func) and not cast_to_itself:
            self.calls[str(func)] += 1
        return result


VIEWS = (
    "reshape", "flatten", "unflatten", "detach", "lift_fresh", "resolve_", "numpy_T", "contiguous", "item", "chunk",
    "split",
)  # fmt: skip


def _is_view(func) -> bool:
    returned = [each.alias_info for each in func._schema.returns]
    name = func._schema.name.removeprefix("aten::")
    is_alias = bool(returned) and all(each is not None and not each.is_write for each in returned)
    return (is_alias and name != "to") or name.startswith(VIEWS)


def _run(func, args, kwargs):
    device = _active[-1] if _active else None
    tensors = [each for each in _flat((args, kwargs)) if isinstance(each, Tensor)]
    ours = [each for each in tensors if isinstance(each, OnDevice)]
    target = next((each for each in _flat((args, kwargs)) if _is_cuda(each)), None)
    args, kwargs = _with_cpu(args), _with_cpu(kwargs)
    if func is Tensor.pin_memory:
        if getattr(args[0], "is_pinned_here", False):
            return args[0]
        with torch._C.DisableTorchFunction():
            pinned = args[0].clone()
        pinned.is_pinned_here = True
        return pinned
    moves = _moves(func, args, target, ours)
    if device and moves:
        _log_copy(device, func, args, kwargs, to_device=moves == "up")
    elif device and ours:
        _check(device, func, args, tensors, ours)
    with torch._C.DisableTorchFunction():
        result = func(*args, **kwargs)
    if func is Tensor.__getitem__ and getattr(args[0], "is_pinned_here", False):
        result.is_pinned_here = True
    if moves and result is args[0] and func is not Tensor.copy_:
        result = result.as_subclass(Tensor).clone()  # as a real copy
    if moves == "down":
        return result.as_subclass(Tensor)
    if moves == "up" or target is not None or ours:
        return _wrap(result)
    return result


def _moves(func, args, target, ours) -> str:
    if func in (Tensor.to, Tensor.cpu, Tensor.cuda):
        if target is not None and not ours:
            return "up"
        to_cpu = func is Tensor.cpu or any(
            str(each) == "cpu" for each in args[1:] if isinstance(each, str | torch.device)
        )
        return "down" if ours and to_cpu and target is None else ""
    if func is Tensor.copy_ and len(ours) == 1:
        return "up" if isinstance(args[0], OnDevice) else "down"
    return "up" if func is torch.tensor and target is not None else ""


def _log_copy(device, func, args, kwargs, to_device: bool) -> None:
    source = args[1] if func is Tensor.copy_ else args[0]
    late = bool(kwargs.get("non_blocking"))
    pinned = getattr(source, "is_pinned_here", False)
    small = isinstance(source, Tensor) and source.nbytes <= MAX_UNPINNED
    if not late or (to_device and not (pinned or small)):
        device.waits.append(f"{'pageable' if late else 'blocking'} copy {_where()}")
    if to_device:
        device.uploads.append(_where())


def _check(device, func, args, tensors, ours) -> None:
    if func in READS:
        device.waits.append(f"{func.__name__} {_where()}")
    elif func in INDEXING:
        index = [each for each in _flat(args[1]) if isinstance(each, Tensor)]
        if any(each.dtype == torch.bool for each in index):
            device.waits.append(f"index by a mask {_where()}")
        if any(not isinstance(each, OnDevice) and each.dim() for each in index):
            device.waits.append(f"index from the host {_where()}")
    elif len(ours) < len(tensors):
        mixed = [each for each in tensors if not isinstance(each, OnDevice) and each.dim()]
        assert not mixed, f"{func} mixes host and device: {_where()}"


def _wrap(result):
    if type(result) is Tensor or type(result) is nn.Parameter:
        return result.as_subclass(OnDevice)
    if isinstance(result, tuple) and hasattr(result, "_fields"):
        return type(result)(*(_wrap(each) for each in result))
    if type(result).__module__ == "torch.return_types":
        return type(result)([_wrap(each) for each in result])
    if isinstance(result, list | tuple):
        return type(result)(_wrap(each) for each in result)
    return result


def _is_cuda(each) -> bool:
    return (isinstance(each, torch.device) and each.type == "cuda") or (isinstance(each, str) and each[:4] == "cuda")


def _with_cpu(value):
    if _is_cuda(value):
        return torch.device("cpu")
    if isinstance(value, dict):
        return {name: _with_cpu(each) for name, each in value.items()}
    if type(value) in (list, tuple):
        return type(value)(_with_cpu(each) for each in value)
    return value


def _flat(value):
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple) or isinstance(value, torch.Size):
        yield value
        return
    for each in value:
        yield from _flat(each)


def _where() -> str:
    """Return the file and line in the product, or in transformers, that made the call."""
    frame = sys._getframe(1)
    while frame and not any(part in frame.f_code.co_filename for part in ("/captioner/", "/transformers/")):
        frame = frame.f_back
    return f"{frame.f_code.co_filename.rpartition('/')[2]}:{frame.f_lineno}" if frame else "?"
