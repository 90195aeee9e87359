"""The options of `python -m captioner bench`. Light: each benchmark is imported when it is asked for."""

import argparse
from pathlib import Path

from captioner.cli.command import add_command, new_parser, run_command

MODELS = "demo, tiny, 100m, qwen3-vl-SIZE with SIZE 2b, 4b, 8b, 32b or 30b-a3b, or a folder that holds a model"
ENGINE_PATHS = ("original", "one", "batch", "slots")


def main(arguments: list[str] | None = None) -> int:
    """The whole program's command line, less all commands but `bench`."""
    parser, commands = new_parser()
    add_bench(commands)
    return run_command(parser.parse_args(arguments))


def add_bench(commands: argparse._SubParsersAction) -> None:
    bench = commands.add_parser("bench", help="measure the speed on this machine")
    benches = bench.add_subparsers(required=True, metavar="WHAT")
    _add_sample(benches)
    _add_engine(benches)


def _add_sample(benches: argparse._SubParsersAction) -> None:
    parser = add_command(benches, "sample", _run_sample, "frame sampling against seeking frame by frame")
    parser.add_argument("--folder", type=Path, help="keep the clips it makes here, for the next time")
    parser.add_argument("--repeats", type=int, default=3, help="default %(default)s")
    add_json(parser)


def _run_sample(args: argparse.Namespace) -> int:
    from captioner.cli.bench.sample import bench_sample

    bench_sample(args.folder, args.repeats, args.json)
    return 0


def _add_engine(benches: argparse._SubParsersAction) -> None:
    text = "the engine against the original's way, one clip at a time and fixed batches, on rendered clips"
    parser = add_command(benches, "engine", _run_engine, text)
    _add_model(parser, default="100m")
    parser.add_argument("--clips", type=at_least_1, default=24, help="default %(default)s")
    text = "a row that runs N clips at once takes at most N x WAVES clips; default: every row takes all"
    parser.add_argument("--waves", type=at_least_1, default=0, help=text)
    parser.add_argument("--frames", type=_range, default=(16, 16), metavar="N|LO-HI", help="of each clip; default 16")
    parser.add_argument(
        "--size",
        type=_sizes,
        default=((320, 192), (320, 192)),
        metavar="WxH|WxH-WxH",
        help="of the frames, in multiples of 32; default 320x192, what 16:9 becomes",
    )
    parser.add_argument(
        "--new-tokens",
        type=_range,
        default=(20, 140),
        metavar="N|LO-HI",
        help="that each clip gets, most near the middle; the same in every row; default 20-140",
    )
    parser.add_argument("--slots", type=_numbers, metavar="N,N,...", help="default 1,4,8,16; on a GPU 1,8,32,64")
    parser.add_argument("--batch", type=at_least_1, default=8, help="size of the fixed batches; default %(default)s")
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16", "float16"))
    parser.add_argument("--attention", default="auto", choices=("auto", "sdpa"), help="of the slots; default auto")
    parser.add_argument("--compile", action="store_true", help="compile the decode step of the slots")
    parser.add_argument("--sage", action="store_true", help="SageAttention in the slots")
    parser.add_argument("--no-graphs", action="store_true", help="no CUDA graphs in the slots")
    parser.add_argument("--repeats", type=at_least_1, default=1, help="rounds; the median counts; default %(default)s")
    parser.add_argument(
        "--skip", action="append", default=[], choices=ENGINE_PATHS, help="leave these rows out; may be repeated"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the clips and their lengths; default %(default)s")
    add_json(parser)


def _run_engine(args: argparse.Namespace) -> int:
    from captioner.cli.bench.engine import bench_engine
    from captioner.cli.bench.variants import EngineSettings

    settings = EngineSettings(
        model=args.model,
        random_weights=args.random_weights,
        device=args.device,
        dtype=args.dtype,
        threads=args.threads,
        num_clips=args.clips,
        waves=args.waves,
        frames=args.frames,
        sizes=args.size,
        new_tokens=args.new_tokens,
        slots=args.slots,
        batch=args.batch,
        attention=args.attention,
        compile=args.compile,
        sage=args.sage,
        graphs=not args.no_graphs,
        repeats=args.repeats,
        skip=tuple(args.skip),
        seed=args.seed,
    )
    bench_engine(settings, args.json)
    return 0


def _add_model(parser: argparse.ArgumentParser, default: str) -> None:
    parser.add_argument("--model", default=default, help=f"{MODELS}; default %(default)s")
    parser.add_argument(
        "--random-weights", action="store_true", help="the real sizes, filled at random: same speed, no download"
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda:0, ...; default %(default)s")
    parser.add_argument("--threads", type=at_least_1, help="of the CPU; default: as torch has it")


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object with rows")


# Values of options: argparse turns a ValueError into one line.


def at_least_1(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def _range(text: str) -> tuple[int, int]:
    """N or LO-HI."""
    low, _, high = text.partition("-")
    bounds = at_least_1(low), at_least_1(high or low)
    if bounds[0] > bounds[1]:
        raise argparse.ArgumentTypeError(f"{text} ends before it begins")
    return bounds


def _sizes(text: str) -> tuple[tuple[int, int], tuple[int, int]]:
    """WxH or WxH-WxH, in multiples of 32."""
    small, _, large = text.partition("-")
    sizes = tuple(tuple(int(side) for side in size.split("x")) for size in (small, large or small))
    if any(len(size) != 2 or size[0] < 32 or size[1] < 32 or size[0] % 32 or size[1] % 32 for size in sizes):
        raise argparse.ArgumentTypeError(f"{text}: write width x height in multiples of 32, such as 320x192")
    return sizes


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(at_least_1(part) for part in text.split(","))
