"""python -m captioner"""

import sys

if __name__ == "__main__":  # worker processes import this file too, and need nothing of the command line
    try:
        if sys.argv[1:2] == ["bench"]:  # runs where the rest of the app cannot: without PyAV, pydantic and Gradio
            from captioner.bench.command import main
        else:
            from captioner.cli import main

        sys.exit(main())
    except KeyboardInterrupt:  # before main() could take care of it
        sys.exit(130)
