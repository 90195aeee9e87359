"""Whatever runs beside a request, its text is that of `generate` alone: every family that ContinuousCore runs."""

import shutil

import pytest

from captioner.engine.c_library import COMPILERS
from captioner.engine.continuous import ContinuousCore, ContinuousOptions
from captioner.engine.loading import load
from captioner.engine.prepare import Preparer
from captioner.engine.product_kernel import KernelWeight
from captioner.engine.slot_kernel import KernelBackend
from captioner.engine.static import StaticCore
from captioner.values import ModelSpec
from tests.support.engine_cases import finish, generate_alone, make_cases, prepare_cases, run, teacher_forced
from tests.support.tiny import make_tiny_model

NUM_CASES = 110
NUM_FEW = 40  # where more would show nothing else
PENALTY, PRESENCE = 1.3, 1.5
SAMPLING = ({"top_k": 30, "top_p": 0.9}, {"top_p": 0.8}, {"top_k": 5, "repetition_penalty": 1.2})


@pytest.fixture(scope="module", params=["qwen3_vl", "qwen3_5", "qwen3_5_moe"])
def tiny(request, tiny_model, tmp_path_factory):
    """The model, loaded by the code that loads every model."""
    if request.param == "qwen3_vl":
        return tiny_model
    folder = make_tiny_model(tmp_path_factory.mktemp("tiny"), request.param)
    return load(folder, ModelSpec(str(folder), device="cpu"))


@pytest.fixture(scope="module")
def cases():
    return make_cases(NUM_CASES)


@pytest.fixture(scope="module")
def alone(tiny, cases):
    """Tokens of each case by repetition penalty, from one call of generate each; of few cases with a penalty."""
    return {
        penalty: [generate_alone(tiny.model, tiny.processor, case, penalty) for case in cases[:count]]
        for penalty, count in ((1.0, NUM_CASES), (PENALTY, NUM_FEW))
    }


@pytest.fixture
def make_core(tiny):
    """A function that makes cores; they release the model for the other tests afterwards."""
    made = []

    def make(max_slots: int, **options) -> ContinuousCore:
        made.append(ContinuousCore(tiny.model, ContinuousOptions(max_slots=max_slots, **options)))
        return made[-1]

    yield make
    for core in reversed(made):  # each restores what it found
        core.close()


@pytest.fixture(scope="module")
def preparer(tiny, alone):
    """The references are computed before a core replaces the model's attention."""
    core = ContinuousCore(tiny.model)
    core.close()
    return Preparer(tiny.processor, core.layout)


@pytest.mark.parametrize("penalty", [1.0, PENALTY])
@pytest.mark.parametrize(("max_slots", "read_late"), [(1, True), (3, False), (8, False), (8, True), (16, False)])
def test_greedy_text_equals_generate_alone(make_core, preparer, cases, alone, max_slots, read_late, penalty):
    some = cases[: len(alone[penalty])]
    ended = run(make_core(max_slots, read_late=read_late), prepare_cases(preparer, some, repetition_penalty=penalty))
    assert [ended[i].tokens for i in range(len(some))] == alone[penalty]
    for i, case in enumerate(some):
        full = len(alone[penalty][i]) == case.num_tokens
        assert ended[i].finish_reason == ("length" if full else "stop")


@pytest.mark.parametrize(("max_slots", "piece_tokens"), [(3, 64), (8, 64), (8, 128)])
def test_prompts_read_in_pieces_give_the_same_text(make_core, preparer, cases, alone, max_slots, piece_tokens):
    some = cases[:NUM_FEW]
    requests = prepare_cases(preparer, some)
    assert max(request.num_prompt_tokens for request in requests) > piece_tokens
    ended = run(make_core(max_slots, piece_tokens=piece_tokens), requests)
    assert [ended[i].tokens for i in range(len(some))] == alone[1.0][: len(some)]


@pytest.mark.skipif(not any(map(shutil.which, COMPILERS)), reason="no C compiler")
@pytest.mark.parametrize("max_slots", [3, 16])
def test_text_by_the_c_kernels_is_the_same(make_core, preparer, cases, alone, monkeypatch, max_slots):
    monkeypatch.setattr("captioner.engine.packed.SMALL_MODEL", 0)
    monkeypatch.setattr("captioner.engine.arranged._probe", lambda ways, *_: ways[-1])
    core = make_core(max_slots, piece_tokens=64)
    assert isinstance(core._model.backend, KernelBackend)
    report = dict(core.report_rows())
    assert KernelWeight.note in report["linear layers"]
    assert report["norms and gates"] == "a C kernel"
    assert ("decode steps" in report) == (core._model.config.model_type == "qwen3_vl_text")
    some = cases[:NUM_FEW]
    ended = run(core, prepare_cases(preparer, some))
    assert [ended[i].tokens for i in range(len(some))] == alone[1.0][: len(some)]


def test_requests_with_different_options_share_steps(make_core, preparer, cases, alone):
    some = cases[:NUM_FEW]
    plain, penalized = prepare_cases(preparer, some), prepare_cases(preparer, some, repetition_penalty=PENALTY)
    ended = run(make_core(8), [(plain, penalized)[i % 2][i] for i in range(len(some))])
    assert [ended[i].tokens for i in range(len(some))] == [alone[(1.0, PENALTY)[i % 2]][i] for i in range(len(some))]


@pytest.mark.parametrize("penalty", [1.0, PENALTY])
def test_presence_penalty_is_that_of_the_definition(tiny, make_core, preparer, cases, alone, penalty):
    some, both = cases[:NUM_FEW], {"repetition_penalty": penalty, "presence_penalty": PRESENCE}
    wanted = [generate_alone(tiny.model, tiny.processor, case, penalty, PRESENCE) for case in some]
    assert wanted != alone[penalty][: len(some)]
    static = run(StaticCore(tiny.model, 4), prepare_cases(Preparer(tiny.processor), some, **both))
    assert [static[i].tokens for i in range(len(some))] == wanted
    penalized, plain = prepare_cases(preparer, some, **both), prepare_cases(preparer, some)
    ended = run(make_core(8, read_late=True), [(plain, penalized)[i % 2][i] for i in range(len(some))])
    assert [ended[i].tokens for i in range(len(some))] == [(alone[1.0], wanted)[i % 2][i] for i in range(len(some))]


def test_cancelled_requests_end_within_one_step_as_prefixes_and_others_are_unchanged(make_core, preparer, cases, alone):
    core = make_core(8)
    for request in prepare_cases(preparer, cases):
        core.submit(request)
    victims = {i for i in range(NUM_CASES) if i % 3 == 0 and len(alone[1.0][i]) > 4}
    assert len(victims) > 20
    ended, cancelled_at = {}, {}
    waiting_victim = max(victims)
    core.cancel(waiting_victim)
    while core.busy:
        events = core.step()
        for event in events:
            if event.id in cancelled_at and event.id not in ended:
                assert event.finish_reason == "cancelled"
            if event.finish_reason:
                ended[event.id] = event
            elif event.id in victims and event.num_tokens == 2 + event.id % 3:
                core.cancel(event.id)
                cancelled_at[event.id] = event.num_tokens
    assert set(cancelled_at) == victims - {waiting_victim}
    assert ended[waiting_victim].tokens == ()
    for i, tokens in enumerate(alone[1.0]):
        if i in victims:
            assert ended[i].finish_reason == "cancelled"
            assert ended[i].tokens == tokens[: cancelled_at.get(i, 0)]
        else:
            assert ended[i].tokens == tokens


def test_seeded_sampling_is_the_same_at_any_slot_count_whatever_the_others_sample(make_core, preparer, cases):
    some = cases[:24]
    texts = [sampled(make_core(n), preparer, some, seed=5) for n in (1, 3, 8, 16)]
    assert texts[0] == texts[1] == texts[2] == texts[3]
    other_seed = sampled(make_core(8), preparer, some, seed=6)
    for kind in range(len(SAMPLING)):
        assert other_seed[kind :: len(SAMPLING)] != texts[0][kind :: len(SAMPLING)]


def sampled(core, preparer, some, seed):
    """Tokens of each case; neighbors sample in different ways."""
    kinds = [prepare_cases(preparer, some, temperature=0.9, seed=seed, **options) for options in SAMPLING]
    ended = run(core, [kinds[i % len(kinds)][i] for i in range(len(some))])
    return [ended[i].tokens for i in range(len(some))]


def test_seeded_sampling_equals_that_of_generate_core(make_core, tiny, cases):
    some, options = cases[:20], {"temperature": 0.9, "top_p": 0.9, "top_k": 30, "seed": 5}
    core = make_core(8)
    ours = run(core, prepare_cases(Preparer(tiny.processor, core.layout), some, **options))
    core.close()
    theirs = run(StaticCore(tiny.model, 4), prepare_cases(Preparer(tiny.processor), some, **options))
    assert {i: e.tokens for i, e in ours.items()} == {i: e.tokens for i, e in theirs.items()}


def test_request_joins_while_others_run(make_core, preparer, cases, alone):
    core = make_core(8)
    requests = prepare_cases(preparer, cases[:12])
    ended = {}
    for request in requests:  # another one after every step
        core.submit(request)
        ended |= {e.id: e for e in core.step() if e.finish_reason}
    assert core.num_running > 1
    ended |= finish(core)
    assert [ended[i].tokens for i in range(12)] == alone[1.0][:12]


def test_text_agrees_with_one_plain_forward_pass_over_it(tiny, cases, alone):
    counts = [
        teacher_forced(tiny.model, tiny.processor, cases[i], alone[1.0][i], 1e-3)
        for i in range(20) if alone[1.0][i]
    ]  # fmt: skip
    assert sum(compared for _, compared in counts) > 50
    assert all(agreeing == compared for agreeing, compared in counts)
