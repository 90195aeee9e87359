"""The media benchmarks, on next to nothing."""

import json

import pytest

from captioner.cli.bench import media
from captioner.cli.bench.folder import bench_folder
from captioner.cli.bench.media import ClipRecipe, bench_discovery, bench_sample


def test_discovery_prints_one_json_object(capsys):
    bench_discovery(num_files=30, num_folders=3, num_captions=10, repeats=1, as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert [row["what"] for row in report["rows"]] == ["names", "names and sizes", "discover"]
    assert report["rows"][2]["ratio"] > 0
    assert report["num_files"] == 30


def test_folder_prints_scan_probe_and_thumbnails(capsys):
    bench_folder(num_files=12, repeats=1, as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert [row["what"] for row in report["rows"]] == [
        "discover",
        "probe, unconfined",
        "probe",
        "thumbnails, unconfined",
        "thumbnails",
        "thumbnails again",
    ]
    assert all(row["ms"] > 0 and row["files_per_s"] > 0 for row in report["rows"])
    assert (report["num_files"], report["num_captions"]) == (12, 6)


def test_sampling_prints_a_row_for_each_comparison(capsys, tmp_path, monkeypatch):
    pytest.importorskip("cv2")
    tiny = ClipRecipe("tiny", "tiny.mp4", (320, 240), 1, 25, "libx264", {"preset": "ultrafast"})
    monkeypatch.setattr(media, "CLIPS", (tiny, tiny))
    monkeypatch.setattr(media, "COMPARISONS", ((0, 4, 1.0), (1, 8, 1.0)))
    bench_sample(tmp_path / "clips", repeats=1, as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert [(row["clip"], row["frames"]) for row in report["rows"]] == [("tiny", 4), ("tiny", 8)]
    assert report["two_threads"]["ratio"] > 0
    assert [path.name for path in (tmp_path / "clips").iterdir()] == ["tiny.mp4"]
    bench_sample(tmp_path / "clips", repeats=1)
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["clip", "frames", "OpenCV", "CPU", "s", "ours", "CPU", "s", "ratio", "target"]
    assert len(table) == 4
