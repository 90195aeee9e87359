"""The doctor: what a trainer will do with each file of a folder."""
