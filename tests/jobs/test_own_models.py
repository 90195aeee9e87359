"""Jobs with an adapter and with a budget for thinking, in real workers: what is recorded, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest

import captioner
from captioner.captions.store import CaptionStore
from captioner.cli import main as cli
from captioner.config.presets import find_preset
from captioner.demo.clips import write_samples
from captioner.errors import FolderError, ModelError
from captioner.services import Services
from captioner.system.database import Database
from captioner.system.files import DATABASE
from captioner.system.roots import Roots
from tests.support.adapters import change_config, save_adapter

THINKING = "{{ '<think>\n' if enable_thinking else '<think>\n\n</think>\n\n' }}"


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    """The demo model with a template that opens the thinking."""
    folder = shutil.copytree(find_preset("demo").source, tmp_path_factory.mktemp("own") / "thinker")
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("assistant{{ '\\n' }}", "assistant{{ '\\n' }}" + THINKING))
    return folder


@pytest.fixture(scope="module")
def adapter(model, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("adapters") / "my-style"
    save_adapter(model, folder, scale=0.3, target_modules=["q_proj", "down_proj"])
    return folder


@pytest.fixture
def clips(tmp_path) -> Path:
    write_samples(tmp_path / "clips", num_clips=2, num_stills=0)
    return tmp_path / "clips"


def test_thinking_and_adapter_are_recorded_and_not_in_the_caption(model, adapter, clips, tmp_path):
    settings = {"model": str(model), "max_new_tokens": 24, "max_frames": 4, "frame_size": 128, "devices": "cpu"}
    with captioner.Captioner(state=tmp_path / "own", adapter=adapter, thinking_budget=6, **settings) as own:
        events = [event for event in own.caption(clips) if isinstance(event, captioner.ItemDone)]
    assert len(events) == 2
    database = Database(tmp_path / "own" / DATABASE)
    for event in events:
        [made] = CaptionStore(database, tmp_path / "own").provenance(event.path.with_suffix(".txt"))
        assert made.caption.adapter == str(adapter)
        assert made.caption.options.thinking_budget == 6
        assert made.caption.thinking
        assert made.caption.num_tokens <= 24 + 6 + 30
        assert "think" not in event.path.with_suffix(".txt").read_text()
    database.close()


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda folder: change_config(folder, peft_type="IA3"), "an adapter of the kind IA3; only LoRA adapters"),
        (lambda folder: (folder / "adapter_model.safetensors").unlink(), "has no adapter_model.safetensors"),
        (lambda folder: shutil.rmtree(folder), "no such folder: "),
    ],
)
def test_bad_adapter_is_refused_when_the_job_starts(model, adapter, clips, tmp_path, capsys, change, text):
    folder = shutil.copytree(adapter, tmp_path / "copy")
    change(folder)
    assert cli.main(["caption", str(clips), "--model", str(model), "--adapter", str(folder), "--devices", "cpu"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert text in error
    assert error.count("\n") == 1
    assert not list(clips.glob("*.txt"))


def test_adapter_of_another_model_is_refused_by_name_before_anything_is_downloaded(adapter, clips, tmp_path):
    folder = change_config(
        shutil.copytree(adapter, tmp_path / "copy"), base_model_name_or_path="Qwen/Qwen3-VL-4B-Instruct"
    )
    with Services(tmp_path / "state", {"model": "qwen3-vl-8b", "adapter": folder}) as services:
        services.open_folder(clips, recursive=False)
        with pytest.raises(ModelError, match=r"^the adapter copy was trained for Qwen/Qwen3-VL-4B-Instruct, not for "):
            services.start()


def test_adapter_outside_the_allowed_folders_cannot_be_chosen_on_the_page(adapter, clips, tmp_path):
    with Services(tmp_path / "state", roots=Roots([clips])) as services:
        with pytest.raises(FolderError, match="outside the allowed folders"):
            services.change_settings({"adapter": str(adapter)})
        shutil.copytree(adapter, clips / "adapter")
        services.change_settings({"adapter": str(clips / "adapter")})
        assert json.loads((tmp_path / "state" / "settings.json").read_text())["adapter"] == str(clips / "adapter")
