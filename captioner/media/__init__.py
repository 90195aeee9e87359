"""Media: a folder becomes items, and a file becomes frames."""
