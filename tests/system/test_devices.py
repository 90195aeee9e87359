import pytest
import torch

from captioner.system import devices
from captioner.system.resources import Gpu

GPUS = [Gpu(0, "A", uuid="GPU-aa11"), Gpu(1, "B", uuid="GPU-aa22")]


def test_build_of_torch_is_read_without_importing_it():
    assert devices.torch_build("cuda") == torch.version.cuda
    assert devices.torch_build("hip") == torch.version.hip


def test_given_devices_stay_as_they_are():
    assert devices.expand_devices(("cpu", "cpu")) == ("cpu", "cpu")


def test_auto_is_every_usable_gpu(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "nvidia_gpus", lambda: GPUS)
    monkeypatch.setattr(devices, "torch_build", lambda platform: "13.0" if platform == "cuda" else None)
    assert devices.expand_devices(("auto",)) == ("cuda:0", "cuda:1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert devices.expand_devices(("auto",)) == ("cuda:0",)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert devices.expand_devices(("auto",)) == ("cpu",)


def test_gpu_without_cuda_in_torch_is_noticed(monkeypatch):
    monkeypatch.setattr(devices, "nvidia_gpus", lambda: GPUS)
    monkeypatch.setattr(devices, "torch_build", lambda platform: None)
    monkeypatch.setattr(devices.sys, "platform", "win32")
    assert devices.cuda_missing()
    assert devices.expand_devices(("auto",)) == ("cpu",)


def test_auto_stays_for_a_gpu_of_another_maker(monkeypatch):
    monkeypatch.setattr(devices, "nvidia_gpus", list)
    monkeypatch.setattr(devices, "torch_build", lambda platform: "6.4" if platform == "hip" else None)
    assert devices.expand_devices(("auto",)) == ("auto",)


@pytest.mark.parametrize(
    ("visible", "count"),
    [
        (None, 2), ("0,1", 2), ("1", 1), (" 1 , 0 ", 2), ("1,0,", 2),
        ("", 0), ("-1", 0), (" ", 0), ("none", 0), ("NoDevFiles", 0), ("void", 0), ("2", 0), ("9999999999999", 0),
        ("0,-1,1", 1), ("0,2,1", 1), ("0,x,1", 1), ("0,,1", 1), ("-1,0,1", 0), ("0,0", 0), ("0,1,0", 0), ("0,2,0", 1),
        ("1gpu,0", 2), ("+1", 1), ("0;1", 1), ("0x1", 1),
        ("GPU-aa1", 1), ("GPU-aa22,GPU-aa11", 2), ("GPU-aa", 0), ("GPU-aa11,GPU-zz,GPU-aa22", 1), ("GPU-aa11,1", 1),
        ("0,GPU-aa22", 1), ("GPU-aa11,GPU-aa1", 0), ("gpu-aa11", 0),
        ("MIG-1234", 1), ("MIG-1234,MIG-5678", 1),
    ],
)  # fmt: skip
def test_visible_devices_are_counted_by_the_rules_of_cuda(monkeypatch, visible, count):
    """The rules for lists that end early are those of the CUDA programming guide and of torch's own reader."""
    monkeypatch.setattr(devices, "nvidia_gpus", lambda: GPUS)
    monkeypatch.setattr(devices, "torch_build", lambda platform: "13.0" if platform == "cuda" else None)
    if visible is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    else:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.num_cuda_devices() == count
    expected = tuple(f"cuda:{i}" for i in range(count)) or ("cpu",)
    if devices.sys.platform != "darwin":
        assert devices.expand_devices(("auto",)) == expected


@pytest.mark.parametrize("visible", ["0", "0,1", "GPU-aa11", "MIG-1", ""])
def test_variable_makes_no_gpu_where_there_is_none(monkeypatch, visible):
    monkeypatch.setattr(devices, "nvidia_gpus", list)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.num_cuda_devices() == 0
