"""The open folder as its viewers see it."""
