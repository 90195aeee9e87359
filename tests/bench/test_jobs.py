"""The benchmarks of whole jobs with few clips; their results need an idle machine and are not asserted."""

import json

from captioner.cli.bench.encoded_clips import ClipRecipe
from tests.bench.feed import bench_feed
from tests.bench.replicas import bench_replicas


def test_one_replica_and_two_caption_the_same_clips(capsys):
    bench_replicas(num_clips=4, new_tokens=3, repeats=1, as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert [row["devices"] for row in report["rows"]] == ["cpu", "cpu,cpu"]
    assert all(row["captions_per_s"] > 0 for row in report["rows"])
    assert report["rows"][1]["ratio"] > 0


def test_feed_prints_starved_time_and_memory(capsys, monkeypatch):
    tiny = ClipRecipe("tiny", "tiny.mp4", (96, 64), 1, 24, "libx264", {"preset": "ultrafast"})
    monkeypatch.setattr("tests.bench.feed.RECIPE", tiny)
    bench_feed("tiny", num_clips=2, num_more=3, as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert [row["clips"] for row in report["rows"]] == [2, 3]
    assert all(0 <= row["starved"] <= 1 for row in report["rows"])
    assert 50 < report["rows"][0]["peak_memory_mb"] <= report["rows"][1]["peak_memory_mb"]
