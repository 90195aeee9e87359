"""Evaluate the demo model on scenes that were not in its training, through files and the whole pipeline.

`python -m tests.tools.demo_model.evaluate` renders held-out clips and images as mp4, webm and png, captions them with
each of three prompts, and prints the share of captions that are right word for word. The exit status is 1 below the
target.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from captioner.demo.clips import Sample, write_samples
from captioner.jobs.events import ItemDone
from captioner.services import Services
from tests.tools.demo_model.lesson import PROMPT_STYLES, caption

HELD_OUT_SEED = 900_001  # training draws from seeds 0 and 11
PROMPTS = ("Detailed", "Short", "Tags")


def evaluate(folder: Path, samples: list[Sample], prompt_name: str, source: str) -> list[tuple[str, str, str]]:
    """Caption the samples in `folder` with one prompt; return (file, expected, got) for each wrong one."""
    with tempfile.TemporaryDirectory() as state:
        overrides = {"model": source, "prompt_name": prompt_name, "existing": "overwrite"}
        with Services(Path(state), overrides) as services:
            services.open_folder(folder, recursive=False)
            number = services.start()
            got = {e.path: e.caption for e in services.jobs.follow(number) if isinstance(e, ItemDone)}
    style = PROMPT_STYLES[prompt_name]
    expected = {sample.path: caption(sample.scene, style) for sample in samples}
    return [
        (path.name, text, got.get(path, "(failed)")) for path, text in expected.items() if got.get(path, "") != text
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=150)
    parser.add_argument("--stills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=HELD_OUT_SEED)
    parser.add_argument("--model", default="demo", help="preset or model folder (default: %(default)s)")
    parser.add_argument(
        "--target", type=float, default=0.95, help="required share of correct captions (default: %(default)s)"
    )
    args = parser.parse_args()
    passed = True
    with tempfile.TemporaryDirectory() as folder:
        samples = write_samples(Path(folder), args.clips, args.stills, args.seed)
        for name in PROMPTS:
            wrong = evaluate(Path(folder), samples, name, args.model)
            share = 1 - len(wrong) / len(samples)
            passed &= share >= args.target
            print(f"{name:10} {share:6.1%} of {len(samples)} captions correct word for word")
            for file, expected, got in wrong:
                print(f"    {file}: expected {expected!r}, got {got!r}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
