"""The routes and the events that somebody with the login can reach: another one needs a reason."""

import re

from captioner.ui.server.guard import is_public, is_served

GRADIO = {  # by the name of a route below /gradio_api, or of one at the top
    "GET": "app_id call/status/x config heartbeat/x info openapi.json queue/data queue/status token "
    "upload_progress user",
    "POST": "api/status call/status cancel queue/join reset run/status upload",
}
OWN = {
    "GET": "captions.zip compare/1/0 compare/1/0.jpg info/ID.json list.json media/ID outside.json rows.json "
    "scripts/x/x search.json sheet/ID.jpg thumb/ID.jpg",
    "POST": "pulse",
}
ENDPOINTS = "get_caption list models open_folder set_caption start status stop"
EVENTS = """
    act_and_update apply approve ballot browse charts check choose count create delete describe dismiss drop
    duplicate export files import_file jobs js_fn list_others list_prompts load mark open open_samples pick picture
    preview pulse receive redo refresh reload remove repair reset resources restore result resume retry rows save
    score show_estimate start start_with_answer stop tables try_it undo unload use vote votes watch
"""


def test_exactly_these_routes_are_served_to_a_user(web):
    served = {
        (method, re.sub(r"/[0-9a-f]+-\d+", "/ID", path).removeprefix("/gradio_api").strip("/"))
        for method, path in web.routes
        if is_served(path) and not is_public(path)
    }
    assert served == {(method, path) for method, paths in GRADIO.items() for path in paths.split()} | {
        (method, f"vcs/{path}") for method, paths in OWN.items() for path in paths.split()
    }


def test_exactly_these_events_can_be_sent(web):
    """What each does is limited by the roots and the checks of its own; that is tested with its part of the page."""
    visible: dict[str, set[str]] = {"public": set(), "private": set()}
    for event in web.blocks.fns.values():
        visible[event.api_visibility].add(re.sub(r"_\d+$", "", str(event.api_name)))
    assert visible == {"public": set(ENDPOINTS.split()), "private": set(EVENTS.split())}


def test_no_event_takes_a_file_or_an_address_from_the_browser(web):
    """Components that take files are the uploads, whose content is checked when they are used."""
    inputs = {component for event in web.blocks.fns.values() for component in event.inputs}
    takes_files = sorted(component.get_block_name() for component in inputs if hasattr(component, "file_types"))
    assert takes_files == ["uploadbutton"]
