"""python -m captioner"""

import os
import signal
import sys

if __name__ == "__main__":  # worker processes import this file too, and need nothing of the command line
    hears_interrupts = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    if hears_interrupts:  # libraries that are being imported print what an exception does to them
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))
    if sys.argv[1:2] == ["bench"]:  # runs where the rest of the app cannot: without PyAV, pydantic and Gradio
        from captioner.cli.bench.command import main
    else:
        from captioner.cli.main import main
    try:
        if hears_interrupts:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        status = main()
        if hears_interrupts:  # it is ending already
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        sys.exit(status)
    except KeyboardInterrupt:  # before main() could take care of it
        sys.exit(130)
