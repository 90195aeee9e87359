"""The options of `captioner bench`. Each benchmark is imported only when it runs."""

import argparse

from captioner.cli.command import add_command, given_path

MODELS = "demo, tiny, 100m, hybrid-100m, qwen3.5-9b, qwen3-vl-SIZE (2b, 4b, 8b, 32b, 30b-a3b), or a model folder"
ENGINE_PATHS = ("original", "one", "batch", "slots")


def add_bench(commands: argparse._SubParsersAction) -> None:
    """Add the command `bench` to the program."""
    example = "example: captioner bench engine --model qwen3-vl-8b --random-weights"
    bench = commands.add_parser("bench", help="measure the speed on this machine", epilog=example)
    benches = bench.add_subparsers(required=True, metavar="WHAT")
    _add_sample(benches)
    _add_engine(benches)


def _add_sample(benches: argparse._SubParsersAction) -> None:
    parser = add_command(benches, "sample", _run_sample, "", "captioner bench sample")
    parser.add_argument("--folder", type=given_path, help="keep the encoded clips in this folder for the next time")
    text = "rounds; the median counts (default: %(default)s)"
    parser.add_argument("--repeats", type=at_least_1, default=3, help=text)
    add_json(parser)


def _run_sample(args: argparse.Namespace) -> int:
    """Measure frame sampling, compared with seeking to each frame."""
    from captioner.cli.bench.sample import bench_sample

    bench_sample(args.folder, args.repeats, args.json)
    return 0


def _add_engine(benches: argparse._SubParsersAction) -> None:
    example = "captioner bench engine --model qwen3-vl-8b --random-weights --clips 256"
    parser = add_command(benches, "engine", _run_engine, "", example)
    _add_model(parser)
    add_clips(parser)
    slots = parser.add_argument_group("slots")
    slots.add_argument("--slots", type=numbers, metavar="N,N,...", help="default: 1,4,8,16; on a GPU 1,8,32,64")
    slots.add_argument("--attention", default="auto", choices=("auto", "sdpa"), help="default: %(default)s")
    slots.add_argument("--compile", action="store_true", help="compile the decode step")
    slots.add_argument("--sage", action="store_true", help="use SageAttention")
    slots.add_argument("--no-graphs", action="store_true", help="use no CUDA graphs")
    parser.add_argument("--batch", type=at_least_1, default=8, help="size of the fixed batches (default: %(default)s)")
    text = "rounds; the median counts (default: %(default)s)"
    parser.add_argument("--repeats", type=at_least_1, default=1, help=text)
    text = "leave out these rows; repeatable"
    parser.add_argument("--skip", action="append", default=[], choices=ENGINE_PATHS, help=text)
    add_json(parser)


def add_clips(parser: argparse.ArgumentParser) -> None:
    """Add the options of the rendered clips."""
    clips = parser.add_argument_group("clips")
    clips.add_argument("--clips", type=at_least_1, default=24, help="number of clips (default: %(default)s)")
    text = "a row that runs N clips at once captions at most N x WAVES clips (default: all clips)"
    clips.add_argument("--waves", type=at_least_1, default=0, help=text)
    text = "frames of each clip (default: 16)"
    clips.add_argument("--frames", type=_range, default=(16, 16), metavar="N|LO-HI", help=text)
    text = "size of the frames in multiples of 32 (default: 320x192, for a clip of 16:9)"
    size = (320, 192)
    clips.add_argument("--size", type=_sizes, default=(size, size), metavar="WxH|WxH-WxH", help=text)
    text = "tokens of each caption, log-normal and the same in every row (default: 20-140)"
    clips.add_argument("--new-tokens", type=_range, default=(20, 140), metavar="N|LO-HI", help=text)
    text = "seed of the clips and of the lengths (default: %(default)s)"
    clips.add_argument("--seed", type=int, default=0, help=text)


def _run_engine(args: argparse.Namespace) -> int:
    """Measure the engine on rendered clips, compared with one clip at a time and fixed batches."""
    from captioner.cli.bench.engine import bench_engine
    from captioner.cli.bench.variants import EngineSettings

    settings = EngineSettings(
        model=args.model, random_weights=args.random_weights, device=args.device, dtype=args.dtype,
        threads=args.threads, num_clips=args.clips, waves=args.waves, frames=args.frames, sizes=args.size,
        new_tokens=args.new_tokens, slots=args.slots, batch=args.batch, attention=args.attention,
        compile=args.compile, sage=args.sage, graphs=not args.no_graphs, repeats=args.repeats,
        skip=tuple(args.skip), seed=args.seed,
    )  # fmt: skip
    bench_engine(settings, args.json)
    return 0


def _add_model(parser: argparse.ArgumentParser) -> None:
    model = parser.add_argument_group("model")
    model.add_argument("--model", default="100m", help=f"{MODELS} (default: %(default)s)")
    text = "random weights in the real sizes: the same speed without a download"
    model.add_argument("--random-weights", action="store_true", help=text)
    model.add_argument("--device", default="auto", help="auto, cpu, cuda:0, ... (default: %(default)s)")
    dtypes = ("auto", "float32", "bfloat16", "float16")
    model.add_argument("--dtype", default="auto", choices=dtypes, help="default: %(default)s")
    model.add_argument("--threads", type=at_least_1, help="CPU threads (default: torch's choice)")


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add the option --json."""
    parser.add_argument("--json", action="store_true", help="print one JSON object with all rows")


# Parsers of option values; argparse turns a ValueError into one line.


def at_least_1(text: str) -> int:
    """Parse a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def _range(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    bounds = at_least_1(low), at_least_1(high or low)
    if bounds[0] > bounds[1]:
        raise argparse.ArgumentTypeError(f"{text}: the second number must not be less than the first")
    return bounds


def _sizes(text: str) -> tuple[tuple[int, int], tuple[int, int]]:
    small, _, large = text.partition("-")
    return _size(small), _size(large or small)


def _size(text: str) -> tuple[int, int]:
    sides = [int(side) for side in text.split("x")]
    if len(sides) != 2 or min(sides) < 32 or any(side % 32 for side in sides):
        raise argparse.ArgumentTypeError(f"{text}: write width x height in multiples of 32, such as 320x192")
    return sides[0], sides[1]


def numbers(text: str) -> tuple[int, ...]:
    """Parse whole numbers with commas between them."""
    return tuple(at_least_1(part) for part in text.split(","))
