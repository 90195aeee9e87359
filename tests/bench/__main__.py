"""Benchmarks that only developers of this app need: `python -m tests.bench WHAT`."""

import argparse
import sys
from pathlib import Path

from captioner.cli.bench.command import MODELS, add_clips, add_json, at_least_1, numbers
from captioner.cli.command import add_command, run_command


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--verbose", action="store_true", help="log what happens")
    benches = parser.add_subparsers(required=True, metavar="WHAT")
    for add in (
        _add_discovery,
        _add_stats,
        _add_folder,
        _add_replicas,
        _add_cluster,
        _add_feed,
        _add_page,
        _add_steps,
        _add_products,
        _add_prompts,
        _add_vllm,
        _add_endpoint,
        _add_dispatch,
        _add_doctor,
        _add_exports,
        _add_lint,
        _add_measure,
        _add_scores,
    ):
        add_json(add(benches))
    _add_model(benches)
    return run_command(lambda: parser, arguments)


def _add_discovery(benches: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = add_command(benches, "discovery", _run_discovery)
    parser.add_argument("--files", type=int, default=50_000, help="default %(default)s")
    return parser


def _run_discovery(args: argparse.Namespace) -> int:
    """Scanning a folder, compared with reading its names."""
    from tests.bench.discovery import bench_discovery

    bench_discovery(args.files, max(1, args.files // 100), args.files * 3 // 5, as_json=args.json)
    return 0


def _add_stats(benches: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = add_command(benches, "stats", _run_stats)
    parser.add_argument("--files", type=int, default=50_000, help="default %(default)s")
    return parser


def _run_stats(args: argparse.Namespace) -> int:
    """The statistics of a large folder: reading, counting, and the captions behind each row."""
    from tests.bench.stats import bench_stats

    bench_stats(args.files, as_json=args.json)
    return 0


def _add_doctor(benches: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = add_command(benches, "doctor", _run_doctor)
    parser.add_argument("--files", type=int, default=50_000, help="default %(default)s")
    return parser


def _add_exports(benches: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = add_command(benches, "exports", _run_exports)
    parser.add_argument("--files", type=int, default=50_000, help="default %(default)s")
    return parser


def _add_lint(benches: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = add_command(benches, "lint", _run_lint)
    parser.add_argument("--files", type=int, default=50_000, help="default %(default)s")
    return parser


def _run_lint(args: argparse.Namespace) -> int:
    """Linting a large folder, for the first time and again."""
    from tests.bench.lint import bench_lint

    bench_lint(args.files, as_json=args.json)
    return 0


def _add_measure(benches: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = add_command(benches, "measure", _run_measure)
    parser.add_argument("--repeats", type=at_least_1, default=7, help="default %(default)s")
    return parser


def _run_measure(args: argparse.Namespace) -> int:
    """Measuring the camera and more in sampled frames, compared with sampling them."""
    from tests.bench.measure import bench_measure

    bench_measure(args.repeats, as_json=args.json)
    return 0


def _run_exports(args: argparse.Namespace) -> int:
    """Exporting a large folder in every format, and reading it back."""
    from tests.bench.exports import bench_exports

    bench_exports(args.files, as_json=args.json)
    return 0


def _run_doctor(args: argparse.Namespace) -> int:
    """Examining a large folder for each trainer."""
    from tests.bench.doctor import bench_doctor

    bench_doctor(args.files, as_json=args.json)
    return 0


def _add_folder(benches: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = add_command(benches, "folder", _run_folder)
    parser.add_argument("--files", type=at_least_1, default=2000, help="default %(default)s")
    parser.add_argument("--repeats", type=at_least_1, default=5, help="default %(default)s")
    return parser


def _run_folder(args: argparse.Namespace) -> int:
    """Scanning, probing and thumbnails of a folder of clips."""
    from tests.bench.folder import bench_folder

    bench_folder(args.files, args.repeats, args.json)
    return 0


def _add_replicas(benches: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = add_command(benches, "replicas", _run_replicas)
    parser.add_argument("--model", default="tiny", help=f"{MODELS}; default %(default)s")
    parser.add_argument("--clips", type=at_least_1, default=48, help="default %(default)s")
    parser.add_argument(
        "--new-tokens", type=at_least_1, default=300, help="tokens of each caption; default %(default)s"
    )
    parser.add_argument("--repeats", type=at_least_1, default=3, help="default %(default)s")
    return parser


def _run_replicas(args: argparse.Namespace) -> int:
    """One worker process compared with two, one core each, on the same clips."""
    from tests.bench.replicas import bench_replicas

    bench_replicas(args.model, args.clips, args.new_tokens, args.repeats, args.json)
    return 0


def _add_cluster(benches: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = add_command(benches, "cluster", _run_cluster)
    for name, default in (("clips", 48), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=at_least_1, default=default, help="default %(default)s")
    return parser


def _run_cluster(args: argparse.Namespace) -> int:
    """A worker of a fixed speed, compared with the same through Ray and with a model server."""
    from tests.bench.cluster import bench_cluster

    bench_cluster(args.clips, args.repeats, args.json)
    return 0


def _add_feed(benches: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = add_command(benches, "feed", _run_feed)
    parser.add_argument("--model", default="demo", help=f"{MODELS}; default %(default)s")
    parser.add_argument("--clips", type=at_least_1, default=40, help="clips of 720p; default %(default)s")
    parser.add_argument("--more", type=int, default=400, help="clips of a second job; 0: none; default %(default)s")
    parser.add_argument("--folder", type=Path, help="keep the encoded clip in this folder for the next time")
    return parser


def _run_feed(args: argparse.Namespace) -> int:
    """How long the engine waits for clips, and the memory that takes."""
    from tests.bench.feed import bench_feed

    bench_feed(args.model, args.clips, args.more, args.folder, args.json)
    return 0


def _add_page(benches: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = add_command(benches, "page", _run_page)
    parser.add_argument("--files", type=at_least_1, default=50_000, help="default %(default)s")
    parser.add_argument("--viewers", type=at_least_1, default=20, help="default %(default)s")
    parser.add_argument(
        "--against",
        type=Path,
        metavar="DIR",
        help="only compare how soon it opens with the version in this checkout, in turns",
    )
    parser.add_argument("--pairs", type=at_least_1, default=5, help="with --against; default %(default)s")
    return parser


def _run_page(args: argparse.Namespace) -> int:
    """The page with many files and viewers, in a real Chromium."""
    from tests.bench.opening import bench_opening
    from tests.bench.page import bench_page

    if args.against:
        bench_opening(args.files, args.against, args.pairs, args.json)
    else:
        bench_page(args.files, args.viewers, args.json)
    return 0


def _add_steps(benches: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = add_command(benches, "steps", _run_steps)
    parser.add_argument("--model", default="tiny", help=f"{MODELS}, with random weights; default %(default)s")
    parser.add_argument(
        "--rows", type=numbers, default=(16, 64), metavar="N,N,...", help="running clips; default 16,64"
    )
    parser.add_argument("--repeats", type=at_least_1, default=3, help="default %(default)s")
    return parser


def _run_steps(args: argparse.Namespace) -> int:
    """Decode steps a second of CPU time, and the host's work in each."""
    from tests.bench.steps import bench_steps

    bench_steps(args.model, args.rows, args.repeats, args.json)
    return 0


def _add_products(benches: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = add_command(benches, "products", _run_products)
    parser.add_argument("--shapes", choices=("100m", "4b-layer"), default="100m", help="default %(default)s")
    parser.add_argument(
        "--rows", type=numbers, default=(1, 8, 16, 64, 256), metavar="N,N,...", help="default 1,8,16,64,256"
    )
    parser.add_argument("--repeats", type=at_least_1, default=5, help="default %(default)s")
    return parser


def _run_products(args: argparse.Namespace) -> int:
    """Products with the weights of a model on a CPU, in three ways."""
    from tests.bench.products import bench_products

    bench_products(args.shapes, args.rows, args.repeats, args.json)
    return 0


def _add_prompts(benches: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = add_command(benches, "prompts", _run_prompts)
    parser.add_argument("--model", default="100m", help=f"{MODELS}, with random weights; default %(default)s")
    parser.add_argument("--frames", type=at_least_1, default=46, help="of the clip that arrives; default %(default)s")
    parser.add_argument("--rows", type=at_least_1, default=4, help="running clips; default %(default)s")
    parser.add_argument("--repeats", type=at_least_1, default=3, help="default %(default)s")
    return parser


def _run_prompts(args: argparse.Namespace) -> int:
    """How long running clips wait for their next token while a long prompt is read."""
    from tests.bench.prompts import bench_prompts

    bench_prompts(args.model, args.frames, args.rows, args.repeats, args.json)
    return 0


def _add_scores(benches: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = add_command(benches, "scores", _run_scores)
    parser.add_argument("--model", default="100m", help=f"{MODELS}, with random weights; default %(default)s")
    parser.add_argument("--clips", type=at_least_1, default=32, help="default %(default)s")
    parser.add_argument("--slots", type=numbers, default=(1, 8, 16), metavar="N,N,...", help="default 1,8,16")
    parser.add_argument("--repeats", type=at_least_1, default=5, help="default %(default)s")
    return parser


def _run_scores(args: argparse.Namespace) -> int:
    """Scoring captions, compared with prefilling the same prompts for one token."""
    from tests.bench.scores import bench_scores

    bench_scores(args.model, args.clips, args.slots, args.repeats, args.json)
    return 0


def _add_vllm(benches: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = add_command(benches, "vllm", _run_vllm)
    parser.add_argument("--url", default="http://127.0.0.1:7866", help="the server; default %(default)s")
    parser.add_argument("--model", required=True, help="the model folder that it serves")
    parser.add_argument("--dtype", default="float32", choices=("float32", "bfloat16"), help="default %(default)s")
    parser.add_argument("--slots", type=numbers, default=(1, 8, 16), metavar="N,N,...", help="default 1,8,16")
    parser.add_argument("--compile", action="store_true", help="compile the decode step, as vLLM does")
    parser.add_argument("--core", type=int, help="the core of this process, not the server's; default any")
    parser.add_argument("--repeats", type=at_least_1, default=3, help="default %(default)s")
    add_clips(parser)
    parser.set_defaults(clips=48, frames=(4, 8), size=((96, 64), (160, 128)))
    return parser


def _run_vllm(args: argparse.Namespace) -> int:
    """This engine and a running vLLM server in turns, on the same clips, in clips per CPU second."""
    from captioner.cli.bench.variants import EngineSettings
    from tests.bench.vllm import bench_vllm

    settings = EngineSettings(
        args.model, dtype=args.dtype, num_clips=args.clips, frames=args.frames, sizes=args.size,
        new_tokens=args.new_tokens, slots=args.slots, compile=args.compile, repeats=args.repeats, seed=args.seed,
    )  # fmt: skip
    bench_vllm(args.url, settings, args.core, args.json)
    return 0


def _add_endpoint(benches: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = add_command(benches, "endpoint", _run_endpoint)
    parser.add_argument("--clips", type=at_least_1, default=96, help="default %(default)s")
    parser.add_argument("--slots", type=at_least_1, default=8, help="clips at once; default %(default)s")
    parser.add_argument("--clip-s", type=float, default=2.0, help="the server's time for a clip; default %(default)s")
    return parser


def _run_endpoint(args: argparse.Namespace) -> int:
    """A job through a model server of a known speed, compared with that speed."""
    from tests.bench.endpoint import bench_endpoint

    bench_endpoint(args.clips, args.slots, args.clip_s, args.json)
    return 0


def _add_dispatch(benches: argparse._SubParsersAction) -> argparse.ArgumentParser:
    parser = add_command(benches, "dispatch", _run_dispatch)
    parser.add_argument("--workers", type=at_least_1, default=1000, help="default %(default)s")
    parser.add_argument("--items", type=at_least_1, default=1_000_000, help="default %(default)s")
    parser.add_argument("--folder", type=Path, help="where to put files and state; default the temporary folder")
    return parser


def _run_dispatch(args: argparse.Namespace) -> int:
    """The app's own cost of an item with very many workers, in virtual time."""
    from tests.bench.dispatch import bench_dispatch

    bench_dispatch(args.workers, args.items, args.folder, args.json)
    return 0


def _add_model(benches: argparse._SubParsersAction) -> None:
    parser = add_command(benches, "model", _run_model)
    parser.add_argument("name", help="tiny, 100m or hybrid-100m")
    parser.add_argument("folder", type=Path)


def _run_model(args: argparse.Namespace) -> int:
    """Save a model with random weights to a folder, for another program to serve."""
    from tests.bench.running import saved_folder

    print(saved_folder(args.name, args.folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
