"""How the app is started: its options, who may reach it then, and which folders it may open. Imports nothing heavy."""

import argparse
import ipaddress
import logging
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from captioner.errors import CaptionerError, FolderError
from captioner.system.roots import Roots

log = logging.getLogger(__name__)

LOCALHOST = "127.0.0.1"
GENERATED_NAME = "captioner"
LOGIN_VARIABLE, ROOTS_VARIABLE = "CAPTIONER_LOGIN", "CAPTIONER_ROOTS"


@dataclass(frozen=True)
class Access:
    """Who may reach the page, and what he may open."""

    roots: Roots
    host: str = LOCALHOST
    share: bool = False
    exposed: bool = False  # others than the user of this machine may reach it; then there is a login
    login: tuple[str, str] | None = None  # name, password
    generated: bool = False  # the password, which has to be told then


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Caption folders of videos and images in the browser.")
    parser.add_argument("folder", nargs="?", type=Path, help="folder to open; the last one if not given")
    parser.add_argument("--demo", action="store_true", help="try it on sample clips with the bundled demo model")
    parser.add_argument("--state", type=Path, help="folder for settings, prompts and history (CAPTIONER_STATE)")
    text = f"folder that may be opened with all in it; may be given often ({ROOTS_VARIABLE})"
    parser.add_argument("--root", action="append", type=Path, default=[], metavar="DIR", help=text)
    parser.add_argument("--listen", action="store_const", const="0.0.0.0", dest="host", help="same as --host 0.0.0.0")
    text = f"address to listen on (default {LOCALHOST}: this machine alone)"
    parser.add_argument("--host", metavar="ADDRESS", help=f"{text}; others need a login and open --root folders alone")
    parser.add_argument("--share", action="store_true", help="make a public link that works for a week; the same holds")
    parser.add_argument("--port", type=int, help="default: the first free one from 7860")
    parser.add_argument("--open", action="store_true", help="open a browser")
    text = f"what every browser has to give; in {LOGIN_VARIABLE} other users of this machine cannot see it"
    parser.add_argument("--login", metavar="NAME:PASSWORD", help=text)
    parser.add_argument("--mcp", action="store_true", help="offer start, stop, captions and so on as MCP tools")
    return parser


def find_access(args: argparse.Namespace, environment: Mapping[str, str]) -> Access:
    """Raises CaptionerError; FolderError for a root that does not exist."""
    host = args.host or environment.get("GRADIO_SERVER_NAME") or LOCALHOST
    exposed = args.share or "SPACE_ID" in environment or not is_loopback(host)
    login = _login(args.login or environment.get(LOGIN_VARIABLE, ""))
    if args.mcp and (exposed or login):
        raise CaptionerError("--mcp cannot stand behind a login, as others need it; leave one of them out")
    given = [*args.root, *filter(None, environment.get(ROOTS_VARIABLE, "").split(os.pathsep))]
    if not exposed:
        return Access(Roots.local([*given, *filter(None, [args.folder])]), host, login=login)
    generated = login is None
    login = login or (GENERATED_NAME, secrets.token_urlsafe(15))
    return Access(Roots(given), host, args.share, True, login, generated)


def last_folder(folder: Path | None, roots: Roots) -> Path | None:
    """That of the settings, if it is there still and may be opened."""
    try:
        return folder and roots.resolve(folder)
    except FolderError as error:
        log.warning("the folder of last time stays closed: %s", error)
        return None


def prepare_gradio(state: Path) -> None:
    """To be called before gradio is imported. What browsers send goes to a folder of this app's own at first."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    incoming = state / "incoming"
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir(mode=0o700)
    os.environ["GRADIO_TEMP_DIR"] = str(incoming)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens there; of a Host header, whether it names this machine."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _login(text: str) -> tuple[str, str] | None:
    name, _, password = text.partition(":")
    if text and not (name and password):
        raise CaptionerError("give the login as NAME:PASSWORD")
    return (name, password) if text else None
