"""Open the page: `python app.py [FOLDER]`, or `python app.py --demo` to try it on sample clips."""

import sys

if __name__ == "__main__":  # worker processes import this file again and need nothing of it
    from captioner.cli.serve import main

    sys.exit(main())
