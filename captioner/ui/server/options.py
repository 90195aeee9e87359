"""The options that start the app, who may reach it, and which folders it may open. Imports nothing heavy."""

import argparse
import ipaddress
import logging
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from captioner.errors import CaptionerError, FolderError
from captioner.system.paths import plain_path
from captioner.system.roots import Roots

log = logging.getLogger(__name__)

LOCALHOST = "127.0.0.1"
FIRST_PORT, MAX_PORT = 7860, 65535
PORT_TEXT = f"a port from 1 to {MAX_PORT}, or 0 for any free one"
PORT_VARIABLE = "GRADIO_SERVER_PORT"
GRADIO_VARIABLES = (PORT_VARIABLE, "GRADIO_SHARE_SERVER_ADDRESS")  # the only ones that Gradio itself gets to see
GENERATED_NAME = "captioner"
LOGIN_VARIABLE, ROOTS_VARIABLE = "CAPTIONER_LOGIN", "CAPTIONER_ROOTS"
ROOT_TEXT = f"allow opening this folder and its subfolders (${ROOTS_VARIABLE})"


@dataclass(frozen=True)
class Access:
    """The people who may reach the page, and the folders they may open."""

    roots: Roots
    host: str = LOCALHOST
    share: bool = False
    exposed: bool = False  # people on other machines may reach it, after a login
    login: tuple[str, str] | None = None  # name, password
    root_path: str = ""  # the path of the page behind a proxy, such as "/captions"
    generated: bool = False  # the password is new and must be shown to the user


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the page to a parser that has --state and --root."""
    text = "folder to open (default: the last one)"
    parser.add_argument("folder", nargs="?", type=lambda given: Path(plain_path(given)), metavar="FOLDER", help=text)
    parser.add_argument("--demo", action="store_true", help="try the app on sample clips with the bundled demo model")
    parser.add_argument("--open", action="store_true", help="open a browser")
    text = "let the page move media files to a trash in the state folder, from which it can restore them"
    parser.add_argument("--allow-delete", action="store_true", help=text)
    parser.add_argument("--mcp", action="store_true", help="offer the API (start, stop, captions, ...) as MCP tools")
    access = parser.add_argument_group("access")
    access.add_argument("--listen", action="store_const", const="0.0.0.0", dest="host", help="same as --host 0.0.0.0")
    text = f"address to listen on (default: {LOCALHOST}, this machine only)"
    text += "; remote users must log in and can open only --root folders"
    access.add_argument("--host", metavar="ADDRESS", help=text)
    access.add_argument("--share", action="store_true", help="create a public link (one week); same restrictions")
    text = f"port to listen on, 0 for any free one (default: the first free one from {FIRST_PORT})"
    access.add_argument("--port", type=port_number, help=text)
    text = "path of the page behind a proxy, such as /captions ($GRADIO_ROOT_PATH)"
    access.add_argument("--root-path", metavar="PATH", help=text)
    text = f"user name and password; safer in {LOGIN_VARIABLE}, where other users of this machine cannot see it"
    access.add_argument("--login", metavar="NAME:PASSWORD", help=text)


def find_access(args: argparse.Namespace, environment: Mapping[str, str]) -> Access:
    """Return who may reach the page and what they may open.

    Raise CaptionerError for options that contradict each other, and FolderError for a root that does not exist.
    """
    host = _host(args.host or environment.get("GRADIO_SERVER_NAME", ""))
    first_port(environment)  # raises the reason before anything is started
    exposed = args.share or "SPACE_ID" in environment or not is_loopback(host)
    login = _login(args.login or environment.get(LOGIN_VARIABLE, ""))
    if args.mcp and (exposed or login):
        raise CaptionerError("--mcp cannot be combined with a login or remote access")
    root_path = _root_path(args.root_path, "--root-path") or _root_path(
        environment.get("GRADIO_ROOT_PATH"), "GRADIO_ROOT_PATH"
    )
    given = [*args.root, *filter(None, environment.get(ROOTS_VARIABLE, "").split(os.pathsep))]
    if not exposed:
        return Access(Roots.local([*given, *filter(None, [args.folder])]), host, login=login, root_path=root_path)
    generated = login is None
    login = login or (GENERATED_NAME, secrets.token_urlsafe(15))
    return Access(Roots(given), host, args.share, True, login, root_path, generated)


def last_folder(folder: Path | None, roots: Roots) -> Path | None:
    """Return the folder if it still exists and may be opened, else None."""
    try:
        return folder and roots.resolve(folder)
    except FolderError as error:
        log.warning("the last folder was not opened: %s", error)
        return None


def prepare_gradio(state: Path) -> None:
    """Configure Gradio before it is imported: no telemetry, and uploads arrive in an own folder of this app.

    Other variables of Gradio are removed: they would open routes, or end the program if their value is not a number.
    """
    for name in [name for name in os.environ if name.startswith("GRADIO_") and name not in GRADIO_VARIABLES]:
        del os.environ[name]
    os.environ[PORT_VARIABLE] = str(first_port(os.environ))
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_ANALYTICS_CACHE_FREQUENCY"] = str(10**9)  # no statistics by pandas at each click
    incoming = state / "incoming"
    shutil.rmtree(incoming, ignore_errors=True)
    incoming.mkdir(mode=0o700)
    os.environ["GRADIO_TEMP_DIR"] = str(incoming)


def is_loopback(host: str) -> bool:
    """Return whether an address or the name in a Host header means this machine, reachable by nobody else."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def port_number(text: str) -> int:
    """Return the port in a text. Raise ArgumentTypeError."""
    if not re.fullmatch(r"0*\d{1,5}", text.strip(), re.ASCII) or int(text) > MAX_PORT:
        raise argparse.ArgumentTypeError(f"give {PORT_TEXT}, not {text[:20]!r}")
    return int(text)


def first_port(environment: Mapping[str, str]) -> int:
    """Return the port from which a free one is searched. Raise CaptionerError."""
    try:
        return port_number(environment.get(PORT_VARIABLE, "").strip() or str(FIRST_PORT))
    except argparse.ArgumentTypeError as error:
        raise CaptionerError(f"{PORT_VARIABLE}: {error}") from None


def _host(text: str) -> str:
    """Return the address to listen on, without the brackets of URLs. Raise CaptionerError if no browser can open it."""
    host = re.sub(r"^\[(.*)\]$", r"\1", text.strip()) or LOCALHOST
    try:
        address = ipaddress.ip_address(host)
    except ValueError:  # a name
        return host
    if address.version == 6 and ("%" in host or address.is_link_local):
        raise CaptionerError(f"browsers cannot open {host}, an address of one network alone; give --host :: for all")
    return host


def _root_path(text: str | None, source: str) -> str:
    """Return the path with a slash before it and none behind it, or "" for none. Raise CaptionerError for no path."""
    path = (text or "").strip().strip("/")
    if not re.fullmatch(r"[\w.~/-]*", path, re.ASCII) or (path and {"", ".", ".."} & {*path.split("/")}):
        raise CaptionerError(f"{source} must be a path such as /captions, not {path[:100]!r}")
    return path and f"/{path}"


def _login(text: str) -> tuple[str, str] | None:
    name, _, password = text.partition(":")
    if text and not (name and password):
        raise CaptionerError("the login must be NAME:PASSWORD")
    return (name, password) if text else None
