"""Comparisons in a real browser: made, voted on blind with keys, ranked, and used."""

import gradio as gr
import pytest

from captioner.demo.clips import write_samples
from captioner.library.comparisons.ballots import ballots
from captioner.library.comparisons.store import ComparisonStore
from captioner.ui.prompts.handlers import PromptHandlers
from captioner.ui.prompts.tab import prompts_tab
from tests.support.chromium import open_browser
from tests.support.compared import keep_comparison
from tests.support.tab_page import serve_tab

SECRETS = ("Secretname", "SECRETPROMPT", "0.7193", "secretmodel", "777001")  # names, prompts, values, a model, the seed


@pytest.fixture
def folder(services, tmp_path):
    folder = tmp_path / "clips"
    write_samples(folder, num_clips=3, num_stills=2)
    services.open_folder(folder, recursive=False)
    return folder


@pytest.fixture
def sent() -> list[bytes]:
    """All that the app has sent to the browser."""
    return []


@pytest.fixture
def address(services, folder, sent):
    def draw(blocks: gr.Blocks, tab: gr.Tab) -> None:
        prompts_tab(PromptHandlers(services), tab, blocks.load)

    with serve_tab(services, "Prompts", draw, sent) as address:
        yield address


def open_dialog(page, expect):
    page.get_by_role("tab", name="Prompts").click()
    page.get_by_role("button", name="Compare on many files…").click()
    expect(page.locator(".compare-dialog")).to_be_visible()


def everything_sent(page, sent: list[bytes]) -> str:
    """Return the document, its fields, and all that the app has answered so far."""
    fields = page.evaluate("[...document.querySelectorAll('input, select')].map(each => each.value)")
    return "\n".join([page.content(), *fields, b"\n".join(sent).decode("utf-8", "replace")])


@pytest.mark.browser
def test_nothing_that_the_page_gets_before_the_votes_tells_who_wrote_a_caption(services, folder, address, sent):
    comparison = keep_comparison(services, folder, 3)
    shown = {ballot.file.name: ballot for ballot in ballots(comparison)}
    with open_browser(address) as (page, expect):
        open_dialog(page, expect)
        page.locator(".compare-list").get_by_role("button", name="Vote").click()
        for number in range(5):
            expect(page.locator(".compare-about")).to_contain_text(f"{number + 1} of 5 · ")
            name = page.locator(".compare-about").text_content().partition(" · ")[2]
            ballot = shown.pop(name)
            assert page.locator(".compare-texts p").all_text_contents() == list(ballot.texts)
            seen = everything_sent(page, sent)
            assert ballot.texts[0].strip() in seen
            assert [secret for secret in SECRETS if secret in seen] == []
            page.keyboard.press(str(ballot.writers.index((1,)) + 1))
        expect(page.locator(".compare-summary")).to_contain_text("Secretname 1 is preferred: 5 of 5 picks agree")
        assert all(secret in everything_sent(page, sent) for secret in SECRETS[:4])  # it would have been found
    votes = ComparisonStore(services.folder).get().votes
    assert [vote.picked for vote in votes] == [(1,)] * 5


@pytest.mark.browser
@pytest.mark.parametrize("count", [2, 6])
def test_voting_needs_only_keys(services, folder, address, count):
    comparison = keep_comparison(services, folder, count)
    by_name = {ballot.file.name: ballot for ballot in ballots(comparison)}
    store, names = ComparisonStore(services.folder), [file.name for file in comparison.files]
    with open_browser(address) as (page, expect):
        open_dialog(page, expect)
        page.locator(".compare-list").get_by_role("button", name="Vote").focus()
        page.keyboard.press("Enter")
        about = page.locator(".compare-about")
        for press, number in (("0", 1), ("s", 2), ("u", 3), ("t", 2), ("ArrowRight", 3)):
            expect(about).to_contain_text(f"{number} of 5")
            page.keyboard.press(press)
        if count > 2:
            page.keyboard.press("ArrowRight")
            page.keyboard.press("Enter")
        expect(about).to_contain_text("4 of 5")
        expect(page.locator(".compare-texts article")).to_have_count(count)
        page.keyboard.press("Escape")
        expect(page.locator(".compare-dialog")).to_be_hidden()
    voted = {vote.file: vote.picked for vote in store.get().votes}
    everyone = tuple(range(count))
    assert voted == {names[0]: everyone, names[1]: everyone, names[2]: by_name[names[2]].writers[1]}


@pytest.mark.browser
def test_captions_are_stacked_on_a_phone(services, folder, address):
    keep_comparison(services, folder, 4)
    with open_browser(address, width=390, height=844) as (page, expect):
        open_dialog(page, expect)
        page.locator(".compare-list").get_by_role("button", name="Vote").click()
        expect(page.locator(".compare-texts article")).to_have_count(4)
        boxes = [each.bounding_box() for each in page.locator(".compare-texts article").all()]
        assert len({box["x"] for box in boxes}) == 1
        assert [box["y"] for box in boxes] == sorted({box["y"] for box in boxes})
        page.get_by_role("button", name="Pick 4").click()
        expect(page.locator(".compare-about")).to_contain_text("2 of 5")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.browser
def test_dialog_is_as_high_as_what_it_shows(services, folder, address):
    keep_comparison(services, folder, 2)

    def is_filled(last) -> bool:
        end, footer = last.bounding_box(), page.locator(".compare-dialog footer").bounding_box()
        return footer["y"] - end["y"] - end["height"] < 40

    with open_browser(address) as (page, expect):
        open_dialog(page, expect)
        expect(page.locator(".compare-list li")).to_have_count(1)
        assert is_filled(page.locator(".compare-list li"))
        page.get_by_role("button", name="Vote").click()
        expect(page.locator(".compare-texts article")).to_have_count(2)
        clip, all_of_it = page.locator(".compare-media").bounding_box(), page.locator(".compare-vote").bounding_box()
        assert clip["height"] > 0.55 * all_of_it["height"]  # the captions are short
        page.keyboard.press("1")
        expect(page.locator(".compare-about")).to_contain_text("2 of 5")
        page.get_by_role("button", name="All comparisons").click()
        page.get_by_role("button", name="Result").click()
        expect(page.locator(".compare-rows li")).to_have_count(2)
        assert is_filled(page.locator(".compare-rows li").last)


@pytest.mark.browser
def test_comparison_is_deleted_after_a_question_and_brought_back(services, folder, address):
    number, store = keep_comparison(services, folder, 2).number, ComparisonStore(services.folder)
    other = keep_comparison(services, folder, 3).number
    with open_browser(address) as (page, expect):
        open_dialog(page, expect)
        rows, message = page.locator(".compare-list li"), page.locator(".compare-dialog .dialog-message")
        first = page.locator(f".compare-list [data-number='{number}']").first
        first.get_by_role("button", name="Delete…").click()
        expect(first).to_contain_text("Delete this comparison with its captions and votes?")
        expect(first.get_by_role("button", name="Keep")).to_be_focused()
        page.keyboard.press("Enter")
        expect(first.get_by_role("button", name="Delete…")).to_be_focused()
        page.keyboard.press("Enter")
        first.get_by_role("button", name="Delete", exact=True).click()
        expect(message).to_have_text(f"Comparison {number} deleted.")
        expect(rows).to_have_count(1)
        assert store.numbers() == [other]
        page.get_by_role("button", name="Undo").click()
        expect(message).to_have_text(f"Comparison {number} restored.")
        expect(rows).to_have_count(2)
        expect(page.locator(".compare-dialog [data-act=restore]")).to_be_hidden()
    assert store.numbers() == [other, number]


@pytest.mark.browser
def test_comparison_is_made_on_the_page_and_its_winner_used(services, folder, address):
    with open_browser(address) as (page, expect):
        open_dialog(page, expect)
        page.get_by_role("button", name="Start", exact=True).click()
        expect(page.locator(".compare-dialog .dialog-message")).to_contain_text("have the same settings")
        rows = page.locator(".compare-contenders li")
        rows.nth(0).locator("[name=name]").fill("Brief")
        rows.nth(0).locator("[name=prompt_name]").select_option("Short")
        rows.nth(1).locator("[name=more]").fill("max_frames=4")
        page.locator("[name=files]").fill("2")
        page.get_by_role("button", name="Start", exact=True).click()
        vote = page.locator(".compare-list").get_by_role("button", name="Vote")
        expect(vote).to_be_visible(timeout=150_000)
        vote.click()
        for ballot in ballots(ComparisonStore(services.folder).get()):
            expect(page.locator(".compare-about")).to_contain_text(ballot.file.name)
            page.get_by_role("button", name=f"Pick {ballot.writers.index((0,)) + 1}").click()
        expect(page.locator(".compare-summary")).to_contain_text("Brief is ahead")
        page.get_by_role("button", name="Use Brief").click()
        expect(page.locator(".compare-dialog .dialog-message")).to_have_text("The next job uses “Brief”.")
    assert services.settings.prompt_name == "Short"
    assert not list(folder.glob("*.txt"))
