"""The forms of captions: how each is parsed, laid out in a file, checked, repaired and edited. Pure functions."""
