"""The linter on its labelled corpus: what it has to find, and where it must stay silent."""

from collections import Counter

import pytest

from captioner.dataset.lint.finding import rules
from tests.dataset.lint_corpus import entries, is_held_back

MIN_RECALL, MAX_ALARMS = 0.95, 0.02


@pytest.fixture(scope="module")
def faulty():
    """Each entry with a fault: (whether it was held back, rules that have to find something, those that did)."""
    return [
        (is_held_back(number), set(entry.rules), {found.rule for found in entry.findings()})
        for number, entry in enumerate(entries("faulty"))
    ]


def test_corpus_is_large_half_clean_and_has_every_rule():
    faulty, clean = entries("faulty"), entries("clean")
    per_rule = Counter(
        rule for entry in faulty for rule in entry.rules for _ in range(len(entry.captions) if rule == "swapped" else 1)
    )
    assert set(per_rule) == set(rules())
    assert min(per_rule.values()) >= 15
    num_clean = sum(len(entry.captions) for entry in clean)
    assert num_clean >= len(faulty)
    assert num_clean + len(faulty) >= 400


def test_linter_finds_the_faults(faulty):
    missed = [(wanted, found) for _, wanted, found in faulty if not wanted <= found]
    assert len(missed) <= (1 - MIN_RECALL) * len(faulty), missed


@pytest.mark.parametrize("rule", rules())
def test_each_rule_finds_its_faults(faulty, rule):
    found = [rule in found for _, wanted, found in faulty if rule in wanted]
    assert sum(found) >= MIN_RECALL * len(found)


def test_linter_is_silent_about_clean_captions():
    captions = [(entry, found) for entry in entries("clean") for found in [entry.findings()]]
    alarms = [(each.rule, each.text) for _, found in captions for each in found]
    num_faulty = sum(len({each.file for each in found}) for _, found in captions)
    assert num_faulty <= MAX_ALARMS * sum(len(entry.captions) for entry, _ in captions), alarms


def test_findings_of_the_corpus_name_the_text_and_why(faulty):
    for entry in entries("faulty"):
        texts = dict(entry.captions)
        for each in entry.findings():
            assert each.why
            assert each.text.removesuffix("…") in texts[each.file]
            assert each.text or each.rule in ("trigger-missing", "form")
