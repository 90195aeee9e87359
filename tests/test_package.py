"""The package: built as a wheel, installed away from the checkout, and used from an empty folder."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from gradio_client import Client

import captioner
from tests.support.patience import END_TIMEOUT_S

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
SOURCES = ("captioner", "pyproject.toml", "requirements.txt", "README.md", "LICENSE")
DATA_FILES = {".c", ".css", ".js", ".html"}
EXAMPLE = """
import captioner

if __name__ == "__main__":
    with captioner.Captioner(model="demo", existing="overwrite") as demo:
        print(demo.caption_file("clips/clip 01.mp4").text)
    print(captioner.__file__)
"""


@pytest.fixture(scope="session")
def project(tmp_path_factory) -> Path:
    """Return a copy of the sources, since a build leaves its own files beside them."""
    folder = tmp_path_factory.mktemp("project")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, folder / name)
    (folder / "tests").mkdir()
    (folder / "tests" / "__init__.py").touch()
    return folder


@pytest.fixture(scope="session")
def wheel(project) -> Path:
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--wheel-dir", str(project / "dist")]
    subprocess.run([sys.executable, "-m", "pip", "wheel", ".", *options], cwd=project, check=True)
    (wheel,) = (project / "dist").glob("*.whl")
    return wheel


@pytest.fixture(scope="session")
def environment(wheel, tmp_path_factory) -> Path:
    """Return a virtual environment with the wheel and with what the tests' own environment has, but no checkout."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False, symlinks=True)
    variables = {"base": str(folder), "platbase": str(folder)}
    site_packages = Path(sysconfig.get_path("purelib", "venv", variables))
    (site_packages / "requirements.pth").write_text(sysconfig.get_path("purelib") + "\n")
    scripts = Path(sysconfig.get_path("scripts", "venv", variables))
    pip = [sys.executable, "-m", "pip", "--python", str(scripts / "python")]
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--quiet", str(wheel)], check=True)
    return scripts


@pytest.fixture(scope="session")
def variables(tmp_path_factory) -> dict[str, str]:
    """Return the environment variables of a user who has set none."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CAPTIONER_", "PYTHON"))}
    home = tmp_path_factory.mktemp("home")
    return {**kept, "HOME": str(home), "XDG_DATA_HOME": str(home / "data")}


@pytest.fixture(scope="session")
def run(environment, variables, tmp_path_factory):
    """Return a function that runs a program of the environment in an empty folder and returns what it prints."""
    folder = tmp_path_factory.mktemp("empty")

    def run(*words: str) -> str:
        command = [str(environment / words[0]), *words[1:]]
        done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=250)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run.folder = folder
    return run


@pytest.fixture(scope="session")
def clips(run) -> Path:
    run("captioner", "demo", "clips")
    return run.folder / "clips"


@pytest.fixture(scope="session")
def page(environment, variables, run, clips, tmp_path_factory) -> Iterator[Client]:
    """Return a client of the page that `captioner serve` serves."""
    command = [str(environment / "captioner"), "serve", "clips", "--state", str(tmp_path_factory.mktemp("page-state"))]
    with subprocess.Popen(command, cwd=run.folder, env=variables, stdout=subprocess.PIPE, text=True) as program:
        try:
            line = program.stdout.readline()
            yield Client(re.search(r"http://\S+", line)[0], verbose=False)
            program.terminate()
            assert program.wait(END_TIMEOUT_S) == 0
        finally:
            program.kill()


def test_wheel_has_the_name_and_the_version_of_the_package(wheel):
    assert wheel.name == f"video_caption_suite-{captioner.__version__}-py3-none-any.whl"


def test_wheel_holds_every_file_of_the_package_and_no_test(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = {path.relative_to(ROOT).as_posix() for path in (ROOT / "captioner").rglob("*") if path.is_file()}
    wanted = {name for name in tracked if "__pycache__" not in name and not name.endswith(".pyi")}
    assert {name for name in names if ".dist-info/" not in name} == wanted
    assert {Path(name).suffix for name in names} >= {*DATA_FILES, ".jinja", ".safetensors", ".json"}


def test_source_distribution_holds_what_the_build_reads(project, tmp_path):
    code = f"from setuptools import build_meta; print(build_meta.build_sdist({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=project, check=True, capture_output=True)
    (archive,) = tmp_path.glob("video_caption_suite-*.tar.gz")
    with tarfile.open(archive) as files:
        names = {name.partition("/")[2] for name in files.getnames()}
    assert names >= {"pyproject.toml", "requirements.txt", "LICENSE", "captioner/demo/model/model.safetensors"}


def test_requirements_are_those_of_the_files(wheel):
    def lines(name: str) -> list[str]:
        text = (ROOT / name).read_text()
        return [line.partition("  #")[0] for line in text.splitlines() if line and line[0] not in "-#"]

    files = zipfile.ZipFile(wheel)
    metadata = files.read(next(name for name in files.namelist() if name.endswith("METADATA"))).decode()
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist: ") and "; extra" not in line]
    assert [re.match(r"[\w-]+", line.split()[1])[0] for line in required] == [
        re.match(r"[\w-]+", line)[0] for line in lines("requirements.txt")
    ]
    assert PROJECT["optional-dependencies"]["test"] == lines("tests/requirements.txt")


def test_command_prints_its_version(run):
    assert run("captioner", "--version") == f"captioner {captioner.__version__}\n"


def test_folder_is_captioned_and_the_state_is_in_the_users_data_folder(run, clips, variables):
    assert run("captioner", "caption", "clips", "--model", "demo").startswith("12 captioned, 0 skipped, 0 failed")
    assert len(list(clips.glob("*.txt"))) == 12
    if sys.platform == "linux":
        assert (Path(variables["XDG_DATA_HOME"]) / "video-caption-suite" / "captioner.sqlite").is_file()
    assert run("captioner", "history").split()[4:6] == ["12", "changed"]


def test_api_of_the_installed_package_captions_a_file(run, clips, environment):
    (run.folder / "example.py").write_text(EXAMPLE)
    caption, place = run("python", "example.py").splitlines()
    assert caption.startswith("A ")
    assert Path(place).is_relative_to(environment.parent)


def test_page_is_served_with_its_scripts_its_style_and_the_files(page):
    assert {file["name"] for file in page.predict(api_name="/list")["files"]} >= {"clip 01.mp4", "still 01.png"}
    html = httpx.get(page.src).text
    assert ".grid-tile" in html
    links = {link for link in re.findall(r"gradio_api/vcs/[\w./]+", html) if Path(link).suffix}  # not those for POST
    assert {Path(link).suffix for link in links} == {".js", ".json"}
    for link in links:
        answer = httpx.get(f"{page.src.rstrip('/')}/{link}")
        assert (link, answer.status_code) == (link, 200)
        if link.endswith("list.json"):
            assert "clip 01.mp4" in answer.text
