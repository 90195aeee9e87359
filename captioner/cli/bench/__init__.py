"""The benchmarks, `python -m captioner bench WHAT`. Each imports only what it measures, and does so when it runs.

`engine` needs torch, transformers and numpy alone, so that it runs on a bare GPU image.
"""
