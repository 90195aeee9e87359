"""The benchmarks of `captioner bench`. Each imports what it measures only when it runs.

`bench engine` needs only torch, transformers and numpy, so it runs on a bare CUDA image.
"""
