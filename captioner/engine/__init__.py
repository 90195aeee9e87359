"""The model on one device. This package needs only torch, transformers and numpy, and reads no media."""

import os

# torch asks Linux for large pages for its large tensors, so that products on a CPU read weights faster. It looks at the
# variable when it first allocates.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
