"""Reads lists of captions that this app or other programs wrote."""
