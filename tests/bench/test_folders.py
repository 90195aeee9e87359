"""The benchmarks of folders, with few files."""

import json

import pytest

from captioner.dataset.exports.export import FORMATS
from tests.bench.__main__ import main
from tests.bench.discovery import bench_discovery
from tests.bench.exports import bench_exports
from tests.bench.folder import bench_folder


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


def test_exports_are_measured_in_every_format(capsys):
    pytest.importorskip("pyarrow")
    bench_exports(num_files=12, as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert [row["format"] for row in report["rows"]] == list(FORMATS)
    assert report["num_files"] == 12


def test_command_line_runs_a_benchmark_by_its_name(capsys):
    assert main(["discovery", "--files", "200", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["num_files"] == 200


def test_page_is_compared_only_with_a_checkout(tmp_path, capsys):
    assert main(["page", "--against", str(tmp_path)]) == 2
    assert "is not a checkout of this app" in capsys.readouterr().err
