"""The page: `python app.py [FOLDER]`, or `python app.py --demo` to try it on sample clips."""

import argparse
import logging
import os
import shutil
import signal
import sys
import threading
import time

from captioner.errors import CaptionerError
from captioner.redaction import hide_secrets, redact
from captioner.system.processes import CLOSE_TIMEOUT_S, end_now
from captioner.ui.server.options import LOGIN_VARIABLE, build_parser, find_access, last_folder, prepare_gradio

# Replicas are spawned processes that import this file anew: what they do not need is imported in serve(), and Ctrl+C,
# which reaches them too, is left to the app, which ends them in order.
if __name__ == "__mp_main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def main() -> int:
    args = build_parser().parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    hide_secrets()
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    threading.Thread(target=end_late, args=(stop,), name="end late", daemon=True).start()
    try:
        serve(args, stop)
    except (CaptionerError, OSError) as error:
        print(f"error: {redact(str(error))}", file=sys.stderr)
        return 2
    return 0


def serve(args: argparse.Namespace, stop: threading.Event) -> None:
    """Show the page until `stop` is set; then stop the job and end every process. Raises CaptionerError."""
    from captioner.demo.clips import write_samples
    from captioner.services import Services

    access = find_access(args, os.environ)
    os.environ.pop(LOGIN_VARIABLE, None)  # the processes of the models need not know it
    overrides = {"model": "demo", "recursive": False} if args.demo else None
    with Services(args.state, overrides, access.roots) as services:
        services.claim()
        prepare_gradio(services.folder)
        from captioner.ui.launch import launch
        from captioner.ui.page import build

        if args.demo:
            folder = services.folder / "demo"
            shutil.rmtree(folder, ignore_errors=True)
            write_samples(folder)
            access.roots.add(folder)
        else:
            folder = args.folder or last_folder(services.settings.folder, access.roots)
        blocks, page = build(services, folder, access.exposed)
        address = launch(blocks, page, access, args.port, args.open, args.mcp)
        print(f"Video Caption Suite is at {address} (Ctrl+C ends it)", flush=True)
        if access.generated:
            print("Log in as {} with the password {}".format(*access.login), flush=True)
        while not stop.wait(0.5):  # in short waits, for Windows hears Ctrl+C only between them
            pass
        blocks.close(verbose=False)


def end_late(stop: threading.Event) -> None:
    """End what does not come to an end by itself."""
    stop.wait()
    time.sleep(CLOSE_TIMEOUT_S)
    end_now(1)


if __name__ == "__main__":
    sys.exit(main())
