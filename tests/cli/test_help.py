"""The help of the command line: every command shows its choices, its defaults in plain words, and an example."""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import captioner
from captioner.cli import main as cli
from captioner.cli.command import parse
from captioner.cli.serve import build_parser as build_app_parser
from captioner.config.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
PARSER = cli.build_parser()
(SUBPARSERS,) = (action for action in PARSER._actions if isinstance(action, argparse._SubParsersAction))
COMMANDS = {name: parser for name, parser in SUBPARSERS.choices.items() if name != "bench"}


@pytest.mark.parametrize("name", COMMANDS)
class TestCommand:
    def test_help_holds_no_python_values(self, name):
        text = COMMANDS[name].format_help()
        assert "('" not in text
        assert "None" not in text
        assert "default: )" not in text
        assert "VALUE" not in text.replace("NAME=VALUE", "")

    def test_examples_can_be_run_as_they_are(self, name):
        _, found, examples = COMMANDS[name].format_help().partition("example:\n")
        assert found
        for line in examples.splitlines():
            program, *words = shlex.split(line)
            assert program == "captioner"
            assert PARSER.parse_args(words).run is COMMANDS[name].get_default("run")

    def test_every_option_and_argument_is_explained(self, name):
        assert [action.dest for action in COMMANDS[name]._actions if not action.help] == []

    def test_common_options_can_stand_before_the_command_and_behind_it(self, name):
        words = {"plan": ["x"], "edit": ["x"], "approve": ["x"], "list": ["x"], "frames": ["x"], "demo": ["x"]}
        words |= {"export": ["x", "--format", "csv", "--to", "y"], "import": ["x", "y"]}
        words |= {"doctor": ["x", "--trainer", "musubi"], "lint": ["x"], "measure": ["x"]}
        words |= {"stats": ["x"], "score": ["x"]}
        line = [name, *words.get(name, [])]
        before = parse(PARSER, ["--state", "s", "--root", "a", *line, "--root", "b"])
        assert (before.state, before.root, before.verbose) == (Path("s"), [Path("a"), Path("b")], False)
        behind = parse(PARSER, [*line, "--state", "s", "--verbose"])
        assert (behind.state, behind.root, behind.verbose) == (Path("s"), [], True)


@pytest.mark.parametrize("name", ["caption", "plan"])
def test_every_setting_is_an_option_with_its_default(name):
    text = " ".join(COMMANDS[name].format_help().split())
    for setting in set(Settings.model_fields) - {"folder"}:
        assert f"--{setting.replace('_', '-')} " in text.replace(",", " ")
    assert "--existing {skip,overwrite,prefix,append}" in text
    assert "(default: auto)" in text
    assert "--temperature NUMBER" in text
    assert "--fps FPS" in text
    for title in ("model:", "frames:", "generation:", "output:", "application:", "files:", "common options:"):
        assert title in text


def test_old_name_of_an_option_is_not_shown():
    text = COMMANDS["caption"].format_help()
    assert "--changed-outside" in text
    assert "elsewhere" not in text


def test_help_of_bench_and_its_benchmarks_ends_with_an_example():
    texts = [SUBPARSERS.choices["bench"].format_help()]
    (benches,) = (action for action in SUBPARSERS.choices["bench"]._actions if action.choices)
    texts += [parser.format_help() for parser in benches.choices.values()]
    for text in texts:
        program, *words = shlex.split(text.partition("example:")[2])
        assert program == "captioner"
        assert PARSER.parse_args(words).run.__module__ == "captioner.cli.bench.command"


def test_version_is_the_one_of_the_package(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"captioner {captioner.__version__}\n")


@pytest.mark.parametrize(
    "arguments", [[], ["nothing"], ["caption", "--fps"], ["undo", "x"], ["list"], ["serve", "--x"]]
)
def test_wrong_arguments_get_one_line_and_status_2(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (2, "")
    assert printed.err.startswith("error: ")
    assert printed.err.count("\n") == 1
    assert "; see captioner " in printed.err


def test_app_has_all_options_of_serve():
    def options(parser):
        return {tuple(action.option_strings) or action.dest for action in parser._actions}

    assert options(build_app_parser()) == options(COMMANDS["serve"])


@pytest.mark.parametrize("script", ["app.py", "captioner/__main__.py", "captioner/cli/main.py"])
def test_worker_processes_import_nothing_heavy_with_the_main_program(script):
    """They run it again under the name __mp_main__."""
    code = f"import runpy, sys; runpy.run_path({str(ROOT / script)!r}, run_name='__mp_main__'); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not {"torch", "transformers", "gradio", "av", "PIL", "numpy", "pydantic", "psutil"} & set(out.split())
