"""The model on one device. This package needs only torch, transformers and numpy, and reads no media."""
