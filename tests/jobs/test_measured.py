"""What is measured in the frames that a job decodes: the prompt says it, and it is kept for the file."""

import json
import os

import pytest

from captioner.cli.main import main
from captioner.services import Services
from tests.support.media_maker import make_picture
from tests.support.model_server import FakeServer, running
from tests.support.motion_clips import Clip, Scene, make, panning, still

PROMPT = "{name}: {shots}, {duration}, {camera} {lens}"
SAID = {
    "pan.mp4": "pan: one shot, 4 seconds, the camera pans left {lens}",
    "cut.mp4": "cut: 2 shots, 4 seconds, the camera is static {lens}",
    "image.png": "image: a single image, no length, it is a still image {lens}",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    make(folder, Clip("pan", [(0.0, Scene("shapes", 0, panning(-0.1)))], ()))
    make(folder, Clip("cut", [(0.0, Scene("shapes", 0, still)), (2.0, Scene("clouds", 1, still))], (), noise=4))
    make_picture(folder / "image.png")
    return folder


def test_prompt_says_what_was_measured_and_it_is_kept(folder, tmp_path, capsys):
    state = tmp_path / "state"
    with Services(state, {"model": "demo", "prompt": PROMPT, "frame_size": 320, "max_new_tokens": 4}) as services:
        services.open_folder(folder, recursive=False)
        assert services.library.listing()["measured"] == [0, 0, 0]
        for _ in services.jobs.follow(services.start()):
            pass
        items = services.library.items
        made = {item.name: services.captions.provenance(item.caption_path)[0].caption.prompt for item in items}
        assert made == SAID
        lookup = {item.name: services.library.lookup.entry(item).measured for item in items}
        assert lookup["pan.mp4"].camera == ("pan left",)
        assert lookup["cut.mp4"].num_shots == 2
        assert lookup["image.png"] is None
        assert [bool(bits) for bits in services.library.listing()["measured"]] == [True, False, True]
        services.try_prompt("pan.mp4", "{camera}")  # a trial keeps nothing

    for path in folder.glob("*.mp4"):
        assert json.loads(_measured(state, folder, capsys)[path.name])["step_s"] > 0


def test_what_is_known_of_a_clip_is_not_measured_again_unless_it_changed(folder, tmp_path):
    clip = tmp_path / "media" / "pan.mp4"
    clip.parent.mkdir()
    clip.write_bytes((folder / "pan.mp4").read_bytes())
    settings = {"model": "demo", "prompt": "{camera}", "frame_size": 320, "max_new_tokens": 4, "existing": "overwrite"}
    with Services(tmp_path / "state", settings) as services:

        def said() -> str:
            services.open_folder(clip.parent, recursive=False)
            for _ in services.jobs.follow(services.start()):
                pass
            return services.captions.provenance(clip.with_suffix(".txt"))[0].caption.prompt

        assert said() == "the camera pans left"
        with services.database.transaction() as connection:
            connection.execute("UPDATE media_facts SET info_json = replace(info_json, 'pan left', 'zoom in')")
        assert said() == "the camera zooms in"
        os.utime(clip, (1, 1))
        assert said() == "the camera pans left"


def _measured(state, folder, capsys):
    assert main(["measure", str(folder), "--json", "--state", str(state)]) == 0
    return {json.loads(line)["file"]: line for line in capsys.readouterr().out.splitlines()}


def test_model_server_gets_the_same_words(folder, tmp_path):
    server = FakeServer()
    with running(server) as url, Services(tmp_path, {"endpoint": url, "prompt": PROMPT}) as services:
        services.open_folder(folder, recursive=False)
        for _ in services.jobs.follow(services.start(existing="overwrite")):
            pass
        made = [services.captions.provenance(item.caption_path)[0].caption.prompt for item in services.library.items]
    assert sorted(made) == sorted(SAID.values())
    sent = json.dumps(server.bodies, ensure_ascii=False)
    assert all(said in sent for said in SAID.values())
