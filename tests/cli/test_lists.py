"""The commands `export` and `import`."""

import json

import pytest

from captioner.cli.main import main
from tests.support.lists import CAPTIONS, make_folder, parse


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "my clips")


def command(*words: object) -> int:
    return main([str(word) for word in words])


def test_export_and_import_through_the_command_line(folder, tmp_path, capsys):
    (folder / "new.mp4").touch()
    path = tmp_path / "list.csv"
    assert command("export", folder, "--format", "csv", "--to", path) == 1
    out, err = capsys.readouterr()
    assert out == f"{len(CAPTIONS)} captions exported to {path}; 1 left out\n"
    assert "left out new.mp4: no caption\n" in err
    assert len(parse(path)) == len(CAPTIONS)

    (folder / "plain.txt").unlink()
    (folder / "NA.txt").write_text("mine")
    assert command("import", folder, path) == 1
    out, err = capsys.readouterr()
    assert out.startswith(f"1 changed, {len(CAPTIONS) - 2} unchanged, 1 refused\nundo with: captioner undo ")
    assert "refused NA.mp4: it has another caption; add --overwrite to replace it\n" in err
    assert (folder / "plain.txt").read_text() == CAPTIONS["plain.mp4"]
    assert command("import", folder, path, "--overwrite") == 0
    assert (folder / "NA.txt").read_text() == CAPTIONS["NA.mp4"]
    assert command("undo") == 0
    assert (folder / "NA.txt").read_text() == "mine"


def test_json_is_one_object_a_line(folder, tmp_path, capsys):
    (folder / "new.mp4").touch()
    path = tmp_path / "list.jsonl"
    command("export", folder, "--format", "jsonl", "--to", path, "--json")
    problem, result = map(json.loads, capsys.readouterr().out.splitlines())
    assert problem == {"file": "new.mp4", "problem": "no caption"}
    assert result == {"exported": len(CAPTIONS), "left_out": 1, "to": [str(path)], "notes": []}
    path.write_text('{"file_name": "gone.mp4", "text": "A"}\n')
    command("import", folder, path, "--json")
    problem, result = map(json.loads, capsys.readouterr().out.splitlines())
    assert problem == {"file": "list.jsonl, line 1: gone.mp4", "problem": "no such file in the folder"}
    assert result == {"changed": 0, "unchanged": 0, "refused": 1, "job": None}


ERRORS = {
    ("--format", "jsonl", "--to", "{folder}/x.jsonl"): "diffusion-pipe would take x.jsonl among the media for a clip",
    ("--format", "csv", "--trainer", "musubi", "--to", "x.csv"): "musubi does not read a list as csv",
    ("--format", "jsonl", "--trainer", "onetrainer", "--to", "x.jsonl"): "onetrainer does not read a list",
    ("--format", "captions.json", "--to", "{folder}/other.json"): "diffusion-pipe reads only captions.json",
    ("--format", "hf", "--to", "{folder}"): "holds the media",
    ("--format", "jsonl", "--to", "/dev/null/x.jsonl"): "cannot write",
}


@pytest.mark.parametrize("options", ERRORS)
def test_errors_are_one_line(folder, capsys, options):
    assert command("export", folder, *(word.format(folder=folder) for word in options)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert ERRORS[options] in err
    assert err.count("\n") == 1


def test_empty_path_is_refused(folder, capsys):
    with pytest.raises(SystemExit):
        command("export", folder, "--format", "csv", "--to", " ")
    assert capsys.readouterr().err == "error: argument --to: give a path; see captioner export --help\n"


def test_empty_folder_is_one_line(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert command("export", tmp_path / "empty", "--format", "csv", "--to", tmp_path / "x.csv") == 2
    assert "no clips or images" in capsys.readouterr().err
    assert not (tmp_path / "x.csv").exists()


def test_missing_pyarrow_says_how_to_install_it(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.import_module", lambda name: (_ for _ in ()).throw(ImportError(name)))
    assert command("export", folder, "--format", "parquet", "--to", tmp_path / "x.parquet") == 2
    assert "Parquet needs pyarrow; install it with pip install" in capsys.readouterr().err
