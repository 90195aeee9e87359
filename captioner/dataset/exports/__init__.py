"""Writes the captions of a folder in the formats that trainers and other programs read."""
