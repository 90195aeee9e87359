"""The page: `python app.py [FOLDER]`, or `python app.py --demo` to try it on sample clips."""

import argparse
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

from captioner.errors import CaptionerError

# Replicas are spawned processes that import this file anew: what they do not need is imported in serve(), and Ctrl+C,
# which reaches them too, is left to the app, which ends them in order.
if __name__ == "__mp_main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)

CLOSE_TIMEOUT_S = 4.0


def main() -> int:
    parser = argparse.ArgumentParser(description="Caption folders of videos and images in the browser.")
    parser.add_argument("folder", nargs="?", type=Path, help="folder to open; the last one if not given")
    parser.add_argument("--demo", action="store_true", help="try it on sample clips with the bundled demo model")
    parser.add_argument("--state", type=Path, help="folder for settings, prompts and history (CAPTIONER_STATE)")
    parser.add_argument("--host", help="address to listen on (default 127.0.0.1: this machine alone)")
    parser.add_argument("--port", type=int, help="default: the first free one from 7860")
    parser.add_argument("--open", action="store_true", help="open a browser")
    parser.add_argument("--login", metavar="NAME:PASSWORD", help="what every browser has to give to see the page")
    parser.add_argument("--mcp", action="store_true", help="offer start, stop, captions and so on as MCP tools")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        serve(args, stop)
    except (CaptionerError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def serve(args: argparse.Namespace, stop: threading.Event) -> None:
    """Show the page until `stop` is set; then stop the job and end every process. Raises CaptionerError."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read when gradio is imported
    from captioner.demo.clips import write_samples
    from captioner.services import Services
    from captioner.ui.launch import is_remote, launch
    from captioner.ui.layout import build

    with Services(args.state, {"model": "demo", "recursive": False} if args.demo else None) as services:
        folder = args.folder or services.settings.folder
        if args.demo:
            folder = services.folder / "demo"
            shutil.rmtree(folder, ignore_errors=True)
            write_samples(folder)
        elif not args.folder and folder and not folder.is_dir():
            logging.warning("the folder of last time is gone: %s", folder)
            folder = None
        name, colon, password = (args.login or "").partition(":")
        if args.login and not (name and colon and password):
            raise CaptionerError("give the login as NAME:PASSWORD")
        blocks, page = build(services, folder, is_remote(args.host))
        login = (name, password) if args.login else None
        address = launch(blocks, page, args.host, args.port, args.open, login, args.mcp)
        print(f"Video Caption Suite is at {address} (Ctrl+C ends it)", flush=True)
        while not stop.wait(0.5):  # in short waits, for Windows hears Ctrl+C only between them
            pass
        threading.Thread(target=end_late, name="end late", daemon=True).start()
        blocks.close(verbose=False)


def end_late() -> None:
    """End what does not come to an end by itself. Captions are whole at any moment, so nothing is lost."""
    time.sleep(CLOSE_TIMEOUT_S)
    for process in multiprocessing.active_children():
        process.kill()
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
