"""Damaged headers of safetensors files: each is one line that names the file."""

import json
import struct

import pytest

from captioner.engine.loading import check_memory
from captioner.errors import ModelError

torch = pytest.importorskip("torch")


def weights(header: object, body: bytes = bytes(64)) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def tensor(**changed: object) -> dict[str, object]:
    return {"a": {"dtype": "F32", "shape": [16], "data_offsets": [0, 64], **changed}}


DAMAGED = {
    "empty": b"",
    "shorter than its length": b"\1\2",
    "of endless length": struct.pack("<Q", 2**63) + b"{}",
    "longer than the file": struct.pack("<Q", 1000) + b"{}",
    "zeros": bytes(1000),
    "pointer of Git LFS": b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n",
    "page of an error": b"<html>404</html>",
    "no JSON": weights(b"abc"),
    "nested lists": weights(b"[" * 100_000),
    "nested objects": weights(b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
    "list": weights([]),
    "not UTF-8": weights(b'{"\xff":1}'),
    "half a character": weights(b'{"\\ud800":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}}'),
    "unknown number format": weights(tensor(dtype="X")),
    "shape beyond 64 bits": weights(tensor(shape=[2**62, 2**62])),
    "negative shape": weights(tensor(shape=[-1])),
    "offsets in the wrong order": weights(tensor(data_offsets=[64, 0])),
    "overlapping tensors": weights(tensor() | {"b": tensor()["a"]}),
    "cut off": weights(tensor())[:-10],
}


@pytest.mark.parametrize("data", DAMAGED.values(), ids=DAMAGED)
def test_damaged_header_is_one_line(tmp_path, data):
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(ModelError, match=r"model.safetensors is damaged or incomplete; download the model again$"):
        check_memory(tmp_path, torch.float32, torch.device("cpu"))


def test_sound_header_is_read(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(weights(tensor()))
    assert check_memory(tmp_path, torch.float32, torch.device("cpu")) == 64
