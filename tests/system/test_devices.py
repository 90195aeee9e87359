import torch

from captioner.system import devices
from captioner.system.resources import Gpu

GPUS = [Gpu(0, "A"), Gpu(1, "B")]


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
