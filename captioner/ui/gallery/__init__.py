"""The Gallery tab: the folder bar, the grid of files and the caption panel."""
