"""The benchmarks of `captioner bench`. `bench engine` needs only torch, transformers and numpy."""
