"""From a folder to media items, and from a file to frames."""
