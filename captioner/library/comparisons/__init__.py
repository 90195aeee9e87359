"""Comparisons: prompts, models or settings tried on some files of a folder, and judged blind."""
