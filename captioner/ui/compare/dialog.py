"""The dialog of comparisons, with the button that opens it."""

from captioner.services import Services
from captioner.ui import scripts
from captioner.ui.compare.handlers import CompareHandlers
from captioner.ui.wiring import KEEP_EVERY_EVENT, in_background, on_action

EVENTS = ("reload", "create", "resume", "stop", "ballot", "vote", "undo", "result", "votes", "use", "delete", "restore")


def compare_dialog(services: Services) -> None:
    """Draw the button and the closed dialog, and wire it."""
    handlers = CompareHandlers(services)
    html = scripts.component("compare/dialog", "compare", EVENTS, {"shown": {}, "message": {}})
    in_background(html.reload, handlers.reload, None, html, mode="always_last")
    for event, handler in (
        (html.create, handlers.create),
        (html.resume, handlers.resume),
        (html.stop, handlers.stop),
        (html.ballot, handlers.ballot),
        (html.vote, handlers.vote),
        (html.undo, handlers.undo),
        (html.result, handlers.result),
        (html.votes, handlers.votes),
        (html.use, handlers.use),
        (html.delete, handlers.delete),
        (html.restore, handlers.restore),
    ):
        on_action(event, handler, None, html, mode=KEEP_EVERY_EVENT)
