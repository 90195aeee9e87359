"""A repair captions again what failed a rule of the linter: with a scripted model that fails so and so many times."""

import json
from collections import Counter
from dataclasses import replace

import pytest

from captioner.captions.store import CaptionStore
from captioner.captions.text import Decoration
from captioner.dataset.lint.finding import LintOptions, rules
from captioner.dataset.targets import target
from captioner.dataset.token_limit import TokenLimit
from captioner.errors import JobError
from captioner.jobs.event_log import EventLog
from captioner.jobs.events import ItemDone, ItemFailed, ItemSkipped
from captioner.jobs.job import rebuild_job, request_for
from captioner.jobs.repair import RepairWish, find_repair
from captioner.jobs.runner import JobRunner
from captioner.media.discover import discover
from captioner.media.facts import FactsCache
from captioner.replicas.pool import ReplicaPool
from captioner.replicas.protocol import Failed, Finished
from captioner.system.database import Database
from captioner.values import Caption, Measured, MediaFacts, MediaInfo
from tests.captions.test_h3 import GOOD as GOOD_H3
from tests.captions.test_h3 import TALKING
from tests.support.scripted import ScriptedReplica, job

TRIES = 3
NAMES = ("red_ball", "harbor", "woman", "cat", "truck")
GOOD = (
    "A red ball rolls over the gray floor, turns left at the wall and comes to rest near a blue cube.",
    "Fishing boats leave a harbor at dawn while two gulls circle above the lighthouse.",
    "A woman in a long green coat crosses a wet street and opens the door of a bakery.",
    "A cat jumps from a wooden shelf onto the carpet and walks slowly towards the camera.",
    "A truck loaded with timber drives uphill through dense fog, its headlights on.",
)
FILLER = (
    "Dust rises behind it.", "The light is warm.", "Leaves drift past.", "A tower stands far away.", "Rain begins."
)  # fmt: skip
PROMPT = "Name the subject first, then its clothes and the place around it."
LIMITED = replace(target("none"), token_limit=40)
BROKEN = {  # by rule: what a model writes instead of a good text
    "loop": lambda good: good + " and it turns left" * 12,
    "cut": lambda good: good[:-1] + " while the",
    "refusal": lambda good: f"I'm sorry, but I cannot describe this video. {good}",
    "thinking": lambda good: f"Okay, the user wants a caption for this video. Let me think about it. {good}",
    "prompt-echo": lambda good: f"{good} {PROMPT}",
    "preamble": lambda good: f"{good} I hope this description helps!",
    "opener": lambda good: f"The video shows {good}",
    "hedging": lambda good: f"{good} It appears to be early morning.",
    "negative": lambda good: f"{good} No people are visible.",
    "sound": lambda good: f"{good} A dog barks loudly.",
    "camera": lambda good: f"{good} The camera pans right.",
    "cuts": lambda good: f"{good} The video cuts to a red door.",
    "script": lambda good: f"{good} Он идет по улице.",
    "trigger-position": lambda good: f"{good} This is ohwx.",
    "over-limit": lambda good: f"{good} " + " ".join(FILLER) * 3,
    "form": lambda good: GOOD_H3.replace("</d>", "").replace("platform", good[2:30]),
    "near-duplicate": lambda good: GOOD[4].replace("timber", "logs"),
    "swapped": lambda good: GOOD[1],
}
# A new caption cannot have these faults: the job puts the word in front of a text that lacks it.
MENDED_BY_THE_JOB = {"trigger-missing": lambda good: good, "trigger-near": lambda good: f"Ohwxx, {good}"}


class Set:
    """A folder of clips with captions, and the runner of jobs over them."""

    def __init__(self, tmp_path, answer):
        self.folder, self.database = tmp_path / "set", Database(tmp_path / "captioner.sqlite")
        self.folder.mkdir()
        self.store, self.log, self.replicas = CaptionStore(self.database, tmp_path / "scratch"), EventLog(), []
        self.jobs = JobRunner(self.log, self.store, self.database, ReplicaPool(self._start))
        self.answer, self.asked, self.facts = answer, Counter(), MediaFacts(8.0, has_sound=False)

    def _start(self, name, spec, folder, num_threads):
        self.replicas.append(ScriptedReplica(name, self._answer))
        return self.replicas[-1]

    def _answer(self, replica, request):
        stem = request.path.stem
        self.asked[stem] += 1
        text = self.answer(stem, self.asked[stem], request)
        if text is None:
            return Failed(request.id, "out of device memory")
        caption = Caption(text, "m", request.prompt, request.options, num_tokens=5, facts=self.facts)
        return Finished(request.id, replace(caption, finish_reason="length" if text.endswith(" the") else "stop"))

    def add(self, name, text):
        (self.folder / f"{name}.mp4").write_bytes(b"x")
        self.caption(name).write_text(text, encoding="utf-8")

    def caption(self, name):
        return self.folder / f"{name}.txt"

    def find(self, wish=RepairWish(), limit=target("none"), trigger=""):
        info = MediaInfo(64, 64, self.facts.duration_s, 25.0, 200, 0, "h264", has_sound=self.facts.has_sound)
        media = FactsCache(self.database, lambda path: info)
        options = LintOptions(TokenLimit(limit), trigger, (PROMPT,))
        items = discover(self.folder).items
        if self.facts.measured:
            media.keep(self.folder, {item: replace(info, measured=self.facts.measured) for item in items})
        return find_repair(items, self.folder, wish, options, self.store, media, lambda *_: None)[0]

    def job(self, repair, **options):
        items = tuple(item for item in discover(self.folder).items if item.name in repair.found)
        return replace(job(self.folder, "cpu", repair=repair, existing="overwrite", **options), items=items)

    def run(self, repair, **options):
        self.number = self.jobs.start(self.job(repair, **options), self.folder)
        self.events = list(self.jobs.follow(self.number))
        return self.events[-1]

    def requests(self, name):
        return [request for request in self.replicas[0].requests if request.path.stem == name]

    def close(self):
        self.jobs.close()
        self.database.close()


@pytest.fixture
def make_set(tmp_path):
    made = []

    def make(answer=lambda stem, number, request: GOOD[0]):
        made.append(Set(tmp_path, answer))
        return made[-1]

    yield make
    for each in made:
        each.close()


def context(rule):
    """Return the target and the trigger word with which a rule finds something."""
    chosen = {"over-limit": LIMITED, "form": target("minimax-h3")}.get(rule, target("none"))
    return chosen, "ohwx" if rule.startswith("trigger") else ""


def test_every_rule_is_tried():
    assert {*BROKEN, *MENDED_BY_THE_JOB} == set(rules())


@pytest.mark.parametrize("rule", [*BROKEN, *MENDED_BY_THE_JOB])
def test_model_that_fails_k_times(make_set, rule):
    """File number k gets k faulty captions before a good one, k = 0 ... N + 1."""
    chosen, trigger = context(rule)
    breaks = {**BROKEN, **MENDED_BY_THE_JOB}[rule]
    lead = "ohwx, " if trigger else ""
    good = [GOOD_H3.replace("platform", GOOD[k][2:30]) if rule == "form" else lead + GOOD[k] for k in range(5)]
    clips = make_set(
        lambda stem, number, request: good[int(stem[-1])] if number > int(stem[-1]) else breaks(GOOD[int(stem[-1])])
    )
    if rule == "form":
        clips.facts = TALKING
    elif rule in ("camera", "cuts"):
        clips.facts = replace(clips.facts, measured=Measured(("static",), step_s=0.5))
    names = [f"{NAMES[k]}_{k}" for k in range(5)] if rule == "swapped" else [f"clip {k}" for k in range(5)]
    for k, name in enumerate(names):
        clips.add(name, f"{breaks(GOOD[k])}\n")
    fine = GOOD_H3 if rule == "form" else f"{lead}Snow covers a wide field under a pale sky."
    clips.add("clip fine", fine)
    if rule == "near-duplicate":
        clips.add("a first", GOOD[4].replace("timber", "logs"))
    if rule == "swapped":
        for k, name in enumerate(names):  # each has the caption of the next one
            clips.caption(name).write_text(GOOD[(k + 1) % 5])
            good[k] = f"Something else with {k} {FILLER[k]}"
        clips.answer = lambda stem, number, request: (
            good[int(stem[-1])] if number > int(stem[-1]) else GOOD[(int(stem[-1]) + 1) % 5]
        )
    before = {name: clips.caption(name).read_bytes() for name in (*names, "clip fine")}
    repair = clips.find(RepairWish(frozenset({rule}), tries=TRIES), chosen, trigger)
    ended = clips.run(repair, target=chosen, decoration=Decoration(trigger))
    failing = [] if rule in MENDED_BY_THE_JOB else [3, 4]
    found = sorted(int(name.partition(".")[0][-1]) for name in repair.found)
    assert found == [0, 1, 2, 3, 4]
    assert (ended.done, ended.skipped, ended.failed) == (5 - len(failing), len(failing), 0)
    assert ended.faulty == len(failing)
    for k, name in enumerate(names):
        most = 1 if rule in MENDED_BY_THE_JOB else min(k + 1, TRIES)
        assert clips.asked[name] == most
        if k in failing:
            assert clips.caption(name).read_bytes() == before[name]
        elif rule not in MENDED_BY_THE_JOB:
            assert clips.caption(name).read_text().strip() == good[k]
        assert len(clips.store.provenance(clips.caption(name))) == most, "each attempt is in the history, once"
    assert clips.caption("clip fine").read_bytes() == before["clip fine"]
    skipped = [event for event in clips.events if isinstance(event, ItemSkipped)]
    assert {event.reason for event in skipped} <= {"no better caption in 3 tries"}
    assert {event.faults for event in skipped} <= {(rule,)}
    if rule not in ("swapped", "near-duplicate", *MENDED_BY_THE_JOB):
        left = clips.find(RepairWish(frozenset({rule})), chosen, trigger)
        assert len(left.found) == ended.faulty, "the linter finds those that are left"
    undone = clips.store.undo(clips.number)
    assert (undone.restored, undone.kept) == (5 - len(failing), ())
    assert {name: clips.caption(name).read_bytes() for name in before} == before


def test_best_attempt_is_kept_even_if_it_is_still_faulty(make_set):
    """A refusal is followed by a loop, a guess and an opener with a guess: the guess alone is the best."""
    answers = [BROKEN["loop"](GOOD[0]), BROKEN["hedging"](GOOD[0]), f"The video shows {BROKEN['hedging'](GOOD[0])}"]
    clips = make_set(lambda stem, number, request: answers[number - 1])
    clips.add("a", BROKEN["refusal"](""))
    ended = clips.run(clips.find())
    assert clips.caption("a").read_text() == answers[1]
    assert (ended.done, ended.skipped, ended.faulty) == (1, 0, 1)
    assert [event.faults for event in clips.events if isinstance(event, ItemDone)] == [("hedging",)]
    history = clips.store.provenance(clips.caption("a"))
    assert Counter(each.outcome for each in history) == {"written": 1, "tried": 2}


def test_caption_is_not_replaced_by_one_with_another_fault_as_bad_or_worse(make_set):
    """Only openers are repaired, but what comes instead is a refusal, a negative, and nothing at all."""
    answers = [BROKEN["refusal"](""), BROKEN["negative"](GOOD[0]), ""]
    clips = make_set(lambda stem, number, request: answers[number - 1])
    clips.add("a", BROKEN["opener"](GOOD[0]))
    ended = clips.run(clips.find(RepairWish(frozenset({"opener"}))))
    assert clips.caption("a").read_text() == BROKEN["opener"](GOOD[0])
    assert (ended.done, ended.skipped, ended.failed, ended.faulty, clips.asked["a"]) == (0, 1, 0, 1, 3)


def test_each_try_has_what_usually_helps(make_set):
    clips = make_set(lambda stem, number, request: BROKEN[stem](GOOD[number]))
    for k, rule in enumerate(("loop", "cut", "refusal", "opener")):
        clips.add(rule, BROKEN[rule](GOOD[k]))
    clips.run(clips.find())
    loop, cut, refusal, opener = (clips.requests(rule) for rule in ("loop", "cut", "refusal", "opener"))
    assert [request.options.presence_penalty for request in loop] == [1.5] * 3
    assert [request.plan.max_frames for request in loop] == [32, 16, 16]
    assert [request.options.max_new_tokens for request in cut] == [1024] * 3
    assert [request.options.temperature for request in cut] == [0.0, 0.7, 0.7]
    assert len({request.options.seed for request in refusal}) == 3
    assert [request.options.temperature for request in refusal] == [0.7] * 3
    assert "do not decline" in refusal[0].prompt
    assert "Begin with what is in the picture" in opener[0].prompt
    assert [request.options.temperature for request in opener] == [0.0, 0.7, 0.7]


def test_what_a_person_approved_or_changed_is_left_alone(make_set):
    clips = make_set()
    for name in ("approved", "outside", "since", "deleted", "plain"):
        clips.add(name, BROKEN["refusal"](name))
    clips.store.approve([clips.caption("approved")])
    clips.store.save(clips.caption("outside"), "It was written here.")
    clips.caption("outside").write_text(BROKEN["refusal"]("outside"))
    repair = clips.find()
    clips.caption("since").write_text("Somebody was faster.")
    clips.caption("deleted").unlink()
    ended = clips.run(repair)
    reasons = {event.item: event.reason for event in clips.events if isinstance(event, ItemSkipped)}
    changed = "changed since it was checked"
    assert reasons == {
        "approved.mp4": "approved", "outside.mp4": "changed outside", "since.mp4": changed, "deleted.mp4": changed
    }  # fmt: skip
    assert (ended.done, ended.skipped, ended.faulty) == (1, 4, 0)
    assert clips.caption("since").read_text() == "Somebody was faster."
    assert not clips.caption("deleted").exists()
    assert set(clips.asked) == {"plain"}
    clips.run(clips.find(), consent=True)
    assert set(clips.asked) == {"plain", "outside"}


def test_caption_that_is_edited_while_the_model_works_is_kept(make_set):
    def edit(stem, number, request):
        clips.store.save(clips.caption(stem), "Written by hand meanwhile.")
        return GOOD[0]

    clips = make_set(edit)
    clips.add("a", BROKEN["opener"](GOOD[1]))
    ended = clips.run(clips.find())
    assert clips.caption("a").read_text() == "Written by hand meanwhile."
    assert (ended.done, ended.skipped) == (0, 1)


def test_failure_of_a_further_try_leaves_the_best_before_it(make_set):
    answers = {"first": [None], "later": [BROKEN["hedging"](GOOD[0]), None]}
    clips = make_set(lambda stem, number, request: answers[stem][number - 1])
    for name in answers:
        clips.add(name, BROKEN["refusal"](name))
    ended = clips.run(clips.find())
    assert (ended.done, ended.failed, ended.faulty) == (1, 1, 1)
    assert [event.item for event in clips.events if isinstance(event, ItemFailed)] == ["first.mp4"]
    assert clips.caption("later").read_text() == BROKEN["hedging"](GOOD[0])
    assert clips.caption("first").read_text() == BROKEN["refusal"]("first")


def test_stopped_repair_leaves_files_in_the_middle_for_the_one_that_resumes_it(make_set):
    def stop(stem, number, request):
        if clips.asked.total() == 4:
            clips.jobs.stop()
        return BROKEN["refusal"]("again") if stopping else GOOD[int(stem)]

    clips, stopping = make_set(stop), True
    for k in range(5):
        clips.add(str(k), BROKEN["refusal"](str(k)))
    before = {k: clips.caption(k).read_bytes() for k in range(5)}
    ended = clips.run(clips.find())
    assert (ended.outcome, ended.done) == ("stopped", 0)
    assert {k: clips.caption(k).read_bytes() for k in range(5)} == before
    stopping = False
    number = clips.jobs.resume(clips.number, lambda source: lambda on_bytes: clips.folder, lambda item: "")
    ended = list(clips.jobs.follow(number))[-1]
    assert (ended.outcome, ended.done + ended.skipped) == ("done", 5 - clips.events[-1].skipped)
    texts = {clips.caption(k).read_text() for k in range(5)}
    assert len(texts & set(GOOD)) == ended.done >= 4


def test_waivers_hold_for_new_captions_too(make_set, tmp_path):
    from captioner.dataset.lint.waivers import Waiver

    text = f"{GOOD[0]} It appears to be early morning."
    clips = make_set(lambda stem, number, request: text)
    clips.add("a", BROKEN["refusal"](""))
    clips.add("b", BROKEN["hedging"](GOOD[1]))
    waivers = (Waiver("*.mp4", "hedging", None, "it is a dream"),)
    repair = clips.find(RepairWish(waivers=waivers))
    assert set(repair.found) == {"a.mp4"}
    ended = clips.run(repair)
    assert (ended.done, ended.faulty, clips.asked["a"]) == (1, 0, 1)


def test_repair_is_kept_for_the_job_that_resumes_it(make_set, tmp_path):
    clips = make_set()
    clips.add("a", BROKEN["opener"](GOOD[0]))
    for k in range(12):
        clips.add(f"fine {k}", GOOD[k % 5] + f" {k}")
    repair = clips.find(RepairWish(frozenset({"opener", "script"}), frozenset({"negative"}), tries=5))
    assert repair.lint.script == "Latin"
    the_job = clips.job(repair)
    kept = json.loads(json.dumps(request_for(the_job, clips.folder, False, (0, 0))))
    rebuilt = rebuild_job(kept, the_job.items, lambda source: lambda on_bytes: tmp_path)
    expected = replace(repair, lint=replace(repair.lint, limit=TokenLimit(target("none"))))
    assert rebuilt.repair == expected
    del kept["repair"]  # of an earlier version
    assert rebuild_job(kept, the_job.items, lambda source: lambda on_bytes: tmp_path).repair is None


@pytest.mark.parametrize("tries", [0, -1, 21])
def test_impossible_number_of_tries_is_refused(tries):
    with pytest.raises(JobError, match=f"{tries} tries are not possible; choose 1 to 20"):
        RepairWish(tries=tries)
