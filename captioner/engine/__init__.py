"""The model on one device. Needs torch, transformers and numpy alone; no threads besides one lockstep, no media I/O."""
