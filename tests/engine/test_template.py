"""Chat templates that run forever, build gigantic texts or look for a way out, in the process that renders them."""

import re
import subprocess
import sys
import threading
import time

import psutil
import pytest

from captioner.engine import chat, loading, template
from captioner.engine.chat import chat_prompt
from captioner.engine.template import TemplateProcess
from captioner.errors import ModelError
from captioner.values import ModelSpec
from tests.support.hostile_models import make, write

pytestmark = pytest.mark.usefixtures("spawned_processes")

ASK = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "describe"}]}]
GOOD = "{% for p in messages[0].content %}{{ p.text or '<image>' }}{% endfor %}"
LOOP = "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}"
SLOW = "the model's chat template did not end within 2 s; choose another model"
LARGE = "the model's chat template needs too much memory; choose another model"
LONG = "the model's chat template refuses the prompt: its text has more than 1,000,000 characters; choose another model"

GREEDY = {
    "loops in loops": (LOOP, SLOW),
    "a loop after the right text": (GOOD + LOOP, SLOW),
    "a loop for this prompt alone": ("{% if 'describe' in messages[0].content[1].text %}" + LOOP + "{% endif %}", SLOW),
    "a power of a power": ("{{ 9 ** (9 ** 9) }}", SLOW),
    "many numbers": ("{{ range(99999) | list | map('string') | map('length') | sum }}" * 400, SLOW),
    "text that doubles": ("{% set ns = namespace(x='a') %}{% for i in range(60) %}{% set ns.x = ns.x + ns.x %}"
                          "{% endfor %}", LARGE),
    "text times a number": ("{{ 'a' * 10 ** 10 }}", LARGE),
    "text of a width": ("{{ '%10000000000d' % 1 }}", LARGE),
    "text in the middle": ("{{ 'a'.center(10 ** 10) }}", LARGE),
    "format with a width": ("{{ '{:>10000000000}'.format(1) }}", LARGE),
    "lists of lists": ("{{ [[0] * 10 ** 9] * 10 | length }}", LARGE),
    "long text": ("{{ 'a' * 1000001 }}", LONG),
}  # fmt: skip
ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ ''['__class__']['__base__'] }}",
    "{{ ''|attr('__class__') }}",
    "{{ '%s'|format(''.__class__) }}{{ '{0.__class__.__init__.__globals__}'.format('') }}",
    "{{ ('{0.__class__}'.format)('') }}",
    "{% set f = '{0.__class__.__base__}'.format %}{{ f('') }}",
    "{{ ['{0.__class__}'] | map('format', '') | list }}",
    "{{ cycler.__init__.__globals__.os.system('touch M') }}",
    "{{ lipsum.__globals__['os'].popen('touch M') }}",
    "{{ lipsum.__globals__.os }}",
    "{{ namespace.__init__.__globals__ }}",
    "{{ raise_exception.__globals__['__builtins__']['open']('M', 'w') }}",
    "{{ strftime_now.__globals__ }}",
    "{{ self.__init__.__globals__ }}{{ self._TemplateReference__context.name }}",
    "{{ joiner.__init__.__globals__.os.mkdir('M') }}",
    "{{ messages.append(1) }}",
    "{{ messages[0].__setitem__('role', 'x') }}",
    "{{ messages[0].update(role='x') }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}{{ os.mkdir('M') }}",
    "{% extends '/etc/passwd' %}",
    "{{ dict.__class__.mro() }}",
    "{{ (messages|tojson).__class__ }}",
    "{% set x = namespace(__class__=1) %}",
    "{{ ''.__class__.__base__.__subclasses__()[100].__init__.__globals__['sys'].modules['os'].mkdir('M') }}",
    "{{ messages | map(attribute='__class__') | list | first }}",
    "{{ messages | groupby('__class__') | list | string }}",
    "{{ [messages] | sum(attribute='__class__', start='') }}",
]


@pytest.fixture
def renderer(monkeypatch):
    monkeypatch.setattr(template, "LIMIT_S", 2.0)
    monkeypatch.setitem(template._WORDS, "slow", template._WORDS["slow"].replace("10 s", "2 s"))
    return TemplateProcess()


@pytest.fixture(scope="module")
def shared():
    return TemplateProcess()


def process_of(renderer):
    return psutil.Process(renderer._process._process.pid)


@pytest.mark.parametrize("name", GREEDY)
def test_greedy_template_is_one_line(renderer, name):
    text, message = GREEDY[name]
    with pytest.raises(ModelError) as error:
        renderer.render(text, ASK, {})
    assert str(error.value) == message
    assert renderer.render(GOOD, ASK, {}) == "<image>describe"


def test_greedy_template_is_tried_only_twice(renderer):
    for _ in range(3):
        started_s = time.monotonic()
        with pytest.raises(ModelError, match=re.escape(SLOW)):
            renderer.render(LOOP, ASK, {})
    assert time.monotonic() - started_s < 1
    assert renderer.render(GOOD, ASK, {}) == "<image>describe"


@pytest.mark.parametrize("text", ESCAPES)
def test_template_finds_no_way_out(shared, tmp_path, text):
    target = tmp_path / "ran"
    text = text.replace("'M'", repr(str(target))).replace("touch M", f"touch {target}")
    try:
        found = shared.render(text, ASK, {})
    except ModelError as error:
        found = str(error)
    assert found.isprintable()
    assert "root:" not in found
    assert "<class" not in found
    assert "<module" not in found
    assert not target.exists()


def test_each_prompt_is_rendered_once(renderer):
    assert [renderer.render(GOOD, ASK, {}) for _ in range(3)] == ["<image>describe"] * 3
    process_of(renderer).suspend()  # it could answer no more
    assert renderer.render(GOOD, ASK, {}) == "<image>describe"
    process_of(renderer).resume()
    other = [{"role": "user", "content": [{"type": "text", "text": "half a \ud800 character"}]}]
    assert renderer.render(GOOD, other, {}) == "half a \ud800 character"


def test_process_that_was_killed_is_replaced(renderer):
    assert renderer.render(GOOD, ASK, {}) == "<image>describe"
    process_of(renderer).kill()
    with pytest.raises(ModelError, match=r"^the model's chat template ended the process that renders it"):
        renderer.render("x", ASK, {})
    assert renderer.render("x", ASK, {}) == "x"


def test_threads_share_the_process(renderer):
    texts = [f"{GOOD}{number}" for number in range(20)]
    found: dict[int, str] = {}

    def render(thread):
        for number, text in enumerate(texts):
            found[thread * 100 + number] = renderer.render(text, ASK, {})

    threads = [threading.Thread(target=render, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {100 * t + n: f"<image>describe{n}" for t in range(4) for n in range(20)}


def test_prompt_is_that_of_transformers(tiny_model):
    processor = tiny_model.processor
    for parts in (ASK[0]["content"], [{"type": "video"}, {"type": "text", "text": " <b> {{ x }} \n"}]):
        chat_of_parts = [{"role": "user", "content": parts}]
        ours = chat_prompt(processor, parts)
        assert ours == processor.apply_chat_template(chat_of_parts, add_generation_prompt=True)


def test_greedy_template_of_a_model_is_refused_when_it_is_loaded(tmp_path, monkeypatch, renderer):
    monkeypatch.setattr(chat, "renderer", renderer)
    folder = make(tmp_path, write("chat_template.jinja", LOOP))
    with pytest.raises(ModelError) as error:
        loading.load(folder, ModelSpec("x", device="cpu"))
    assert str(error.value) == f"model: {SLOW}"


SMALL = """
import json, sys
from captioner.engine import rendering
chat = [{"role": "user", "content": "hello"}]
print(rendering.answer_with_text("{{ messages[0].content + name }}", json.dumps([chat, {"name": " there"}])))
print("transformers.utils.hub" in sys.modules)
"""
WHOLE = SMALL.replace(
    "chat =", "rendering.PACKAGES = rendering.PACKAGES[:1]  # so that what it needs is not found\nchat ="
)


@pytest.mark.parametrize(("program", "whole"), [(SMALL, "False"), (WHOLE, "True")])
def test_the_process_imports_little_of_transformers_and_all_of_it_where_that_fails(program, whole):
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["({}, b'hello there')", whole]
