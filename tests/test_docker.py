"""The image: what it copies is there and let through, it is no root, and its commands are those of the program."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml
from pathspec import GitIgnoreSpec

from captioner.cli.main import build_parser
from tests.ui.test_app import running_app

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_what_is_copied_exists_and_nothing_else_is_sent_to_the_builder():
    ignored = GitIgnoreSpec.from_lines((ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines())
    copied = [name for line in re.findall(r"^COPY (.+) \S+$", DOCKERFILE, re.MULTILINE) for name in line.split()]
    assert sorted(copied) == ["LICENSE", "README.md", "captioner", "pyproject.toml", "requirements.txt"]
    assert all((ROOT / name).exists() and not ignored.match_file(name) for name in copied)
    assert all(ignored.match_file(name) for name in ("tests/conftest.py", ".gradio/x.sqlite", ".git/config", ".env"))


def test_it_runs_as_an_ordinary_user_with_volumes():
    assert re.search(r"^USER 1000$", DOCKERFILE, re.MULTILINE)
    assert 'VOLUME ["/state", "/models"]' in DOCKERFILE


def test_the_health_check_needs_no_login_and_uses_no_proxy(tmp_path):
    command, first_process = json.loads(re.search(r"^    CMD (\[.+\])$", DOCKERFILE, re.MULTILINE)[1]), tmp_path / "1"
    proxy = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}  # which Docker passes on

    def check(address, *words):
        first_process.write_bytes("\0".join((*words, "")).encode())
        code = command[2].replace("http://127.0.0.1:7860/", address).replace("/proc/1/cmdline", str(first_process))
        assert code.count(str(first_process)) == 1
        environment = {name: value for name, value in os.environ.items() if name.lower() != "no_proxy"} | proxy
        return subprocess.run([sys.executable, "-c", code], stderr=subprocess.DEVNULL, env=environment).returncode

    with running_app("--listen", "--port", 0, "--state", tmp_path / "state", "--root", tmp_path) as (_, address):
        assert check(address, "/sbin/docker-init", "--", "captioner", "serve", "/media") == 0
    assert check(address, "python", "/opt/venv/bin/captioner", "serve") != 0
    assert check(address, "/sbin/docker-init", "--", "captioner", "caption", "/media") == 0  # there is no page to ask


def test_its_command_is_one_of_the_program_and_the_port_is_that_of_the_compose_file():
    program, *arguments = json.loads(re.search(r"^CMD (\[.+\])$", DOCKERFILE, re.MULTILINE)[1])
    assert program == "captioner"
    args = build_parser().parse_args(arguments)
    (service,) = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"].values()
    assert service["ports"] == [f"127.0.0.1:{args.port}:{args.port}"]
    assert f"EXPOSE {args.port}\n" in DOCKERFILE
    assert args.host == "0.0.0.0"
