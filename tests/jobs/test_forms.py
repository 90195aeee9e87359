"""A job for a target writes captions in its form: repaired, asked for a second time, or marked."""

import itertools
import json
from dataclasses import replace

import pytest

from captioner.captions.forms.known import form
from captioner.captions.text import Decoration
from captioner.dataset.targets import target
from captioner.jobs.events import ItemDone, JobNote
from captioner.jobs.job import job_plan, rebuild_job, request_for
from captioner.media.scenes import is_installed
from captioner.replicas.protocol import Finished
from captioner.values import Caption, MediaFacts
from tests.captions.test_h3 import GOOD, REPAIRED, TALKING
from tests.support.scripted import job, run

H3 = target("minimax-h3")


def write(texts, facts=TALKING, finish_reason="stop"):
    """Return the answers of a model by the number in the file's name; a list has one for each time it is asked."""
    asked = {}

    def answer(replica, request):
        name = int(request.path.stem)
        known = texts.get(name, GOOD)
        number = asked[name] = asked.get(name, -1) + 1
        text = known[min(number, len(known) - 1)] if isinstance(known, list) else known
        caption = Caption(text, "m", request.prompt, request.options, facts=facts, finish_reason=finish_reason)
        return Finished(request.id, caption)

    return answer


def flaws(events):
    return {event.item: event.flaw for event in events if isinstance(event, ItemDone)}


def test_job_writes_three_field_files_with_one_repaired_and_one_asked_again(runner, library):
    broken = GOOD.replace("</d>", "")
    answers = {1: REPAIRED["one line"], 2: REPAIRED["labels in words"], 3: [broken, GOOD], 4: [broken, broken]}
    jobs, _, started = runner(cpu=write(answers))
    events, ended = run(jobs, job(library, "cpu", target=H3))
    texts = {i: (library / f"{i}.txt").read_text() for i in range(8)}
    assert (ended.done, {texts[i] for i in range(8) if i != 4}) == (8, {GOOD})
    assert form("h3").parse(texts[4]).keys() == form("h3").parse(GOOD).keys()
    assert {name: flaw for name, flaw in flaws(events).items() if flaw} == {
        "4.mp4": "breaks its form: it has a <d> without its </d>"
    }
    prompts = [request.prompt for request in started[0].requests if request.path.stem == "3"]
    assert prompts[0] == "describe"
    assert "it has a <d> without its </d>" in prompts[1]
    assert "overall_soundscape: ..." in prompts[1]
    assert len(started[0].requests) == 8 + 2


def test_shot_times_are_compared_with_the_measured_cuts_and_the_model_is_told_them(runner, library):
    pytest.importorskip("scenedetect")
    off = GOOD.replace("00:03.500", "00:03.900")
    jobs, _, started = runner(cpu=write({3: [off, GOOD]}))
    events, _ = run(jobs, job(library, "cpu", target=H3))
    second = [request.prompt for request in started[0].requests if request.path.stem == "3"][1]
    assert "it lets [Shot 2] begin where the clip has no cut (measured: 00:03.400, 00:06.000)" in second
    assert (library / "3.txt").read_text() == GOOD
    assert not any(isinstance(event, JobNote) for event in events)


def test_missing_scene_finder_is_said_once(runner, library, services, monkeypatch):
    settings = services.settings.model_copy(update={"target": "minimax-h3"})
    assert job_plan(settings, services.preset()).find_cuts == is_installed()
    assert not job_plan(services.settings, services.preset()).find_cuts
    monkeypatch.setattr("captioner.dataset.cuts.is_installed", lambda: False)
    assert not job_plan(settings, services.preset()).find_cuts
    jobs, _, _ = runner(cpu=write({}))
    events, ended = run(jobs, job(library, "cpu", target=H3))
    notes = [event.text for event in events if isinstance(event, JobNote)]
    assert ended.done == 8
    assert notes == [
        "times of shots are not compared with the cuts of clips; for that, pip install scenedetect-headless"
    ]


def test_worse_second_answer_is_not_taken(runner, library):
    broken = GOOD.replace("</d>", "")
    jobs, _, _ = runner(cpu=write({0: [broken, "I cannot do that."]}))
    run(jobs, job(library, "cpu", target=H3))
    assert (library / "0.txt").read_text() == broken


@pytest.mark.parametrize("policy", ["prefix", "append"])
def test_policy_joins_captions_field_by_field(runner, library, policy):
    (library / "0.txt").write_text(GOOD)
    (library / "1.txt").write_text("An older line.")
    jobs, _, _ = runner(cpu=write({}))
    run(jobs, job(library, "cpu", target=H3, existing=policy, consent=True))
    for i, old in ((0, GOOD), (1, "An older line.")):
        fields = form("h3").parse((library / f"{i}.txt").read_text())
        assert list(fields) == list(form("h3").fields)
        parts = [form("h3").parse(GOOD)["integrated_multimodal_description"], old.removeprefix("x")]
        if i == 0:
            parts[1] = parts[0]
        assert fields["integrated_multimodal_description"] == " ".join(parts[:: 1 if policy == "prefix" else -1])


def test_trigger_word_prefix_and_suffix_go_into_the_description(runner, library):
    jobs, _, _ = runner(cpu=write({}))
    run(jobs, job(library, "cpu", target=H3, decoration=Decoration("ohwx", "In color:", "The end.")))
    text = (library / "0.txt").read_text()
    assert text.startswith("integrated_multimodal_description: [Shot 1] ohwx, In color: Live-action")
    assert "static shot. The end.\n\noverall_soundscape: A train" in text


def test_json_form_is_written_in_one_line(runner, library):
    given = {
        "compositional_deconstruction": {"elements": [], "background": "a wall"},
        "high_level_description": 'A "red" pot.',
    }
    jobs, _, _ = runner(cpu=write({i: f"Here it is:\n```json\n{json.dumps(given, indent=2)}\n```" for i in range(8)}))
    events, _ = run(jobs, job(library, "cpu", target=target("ideogram4")))
    text = (library / "0.txt").read_text()
    assert (json.loads(text), text.count("\n"), set(flaws(events).values())) == (given, 0, {""})
    assert text.startswith('{"high_level_description":')


def test_target_without_a_form_of_its_own_writes_one_line_and_asks_once(runner, library):
    jobs, _, started = runner(cpu=write({}))
    run(jobs, job(library, "cpu", target=target("wan2.2")))
    assert (library / "0.txt").read_text() == GOOD.replace("\n\n", " ")
    assert len(started[0].requests) == 8


def test_caption_over_the_limit_is_marked(runner, library):
    long = " ".join(map("".join, itertools.product("bdfgklmnprst", "aeiou", "bdfgklmnp")))
    jobs, _, _ = runner(cpu=write({0: long}, MediaFacts(8.0)))
    events, _ = run(jobs, job(library, "cpu", target=target("wan2.2")))
    marked = {name: flaw for name, flaw in flaws(events).items() if flaw}
    assert marked == {"0.mp4": "exceeds the 512 tokens of Wan 2.2 (14B) by estimate"}


def test_tags_are_appended_behind_a_comma(runner, library):
    (library / "0.txt").write_text("solo, 1girl")
    jobs, _, _ = runner(cpu=write(dict.fromkeys(range(8), "blue eyes")))
    run(jobs, job(library, "cpu", target=target("sdxl"), existing="append", consent=True))
    assert (library / "0.txt").read_text() == "solo, 1girl, blue eyes"
    assert (library / "1.txt").read_text() == "blue eyes"


def test_target_of_a_job_is_kept_for_the_job_that_resumes_it(library, tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    chosen = replace(H3, token_limit=77)
    the_job = job(library, "cpu", target=chosen, tokenizer=tmp_path / "tokenizer.json")
    kept = json.loads(json.dumps(request_for(the_job, library, False, (0, 0))))
    rebuilt = rebuild_job(kept, the_job.items, lambda source: lambda on_bytes: tmp_path)
    assert (rebuilt.target, rebuilt.tokenizer) == (chosen, tmp_path / "tokenizer.json")
    del kept["target"]  # of an earlier version
    assert rebuild_job(kept, the_job.items, lambda source: lambda on_bytes: tmp_path).target == target("none")
