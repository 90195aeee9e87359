"""The Dataset tab: what a trainer will do with the open folder."""
