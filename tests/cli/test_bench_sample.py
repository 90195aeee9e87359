"""`bench sample` with a tiny clip."""

import json

import pytest

from captioner.cli import main as cli
from captioner.cli.bench import sample
from captioner.cli.bench.encoded_clips import ClipRecipe
from captioner.cli.bench.sample import bench_sample


def test_sampling_prints_a_row_for_each_comparison(capsys, tmp_path, monkeypatch):
    pytest.importorskip("cv2")
    tiny = ClipRecipe("tiny", "tiny.mp4", (320, 240), 1, 25, "libx264", {"preset": "ultrafast"})
    monkeypatch.setattr(sample, "CLIPS", (tiny, tiny))
    monkeypatch.setattr(sample, "COMPARISONS", ((0, 4, 1.0), (1, 8, 1.0)))
    bench_sample(tmp_path / "clips", repeats=1, as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert [(row["clip"], row["frames"]) for row in report["rows"]] == [("tiny", 4), ("tiny", 8)]
    assert report["two_threads"]["ratio"] > 0
    assert [path.name for path in (tmp_path / "clips").iterdir()] == ["tiny.mp4"]
    assert cli.main(["bench", "sample", "--folder", str(tmp_path / "clips"), "--repeats", "1"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["clip", "frames", "OpenCV", "CPU", "s", "ours", "CPU", "s", "ratio", "target"]
    assert len(table) == 4
