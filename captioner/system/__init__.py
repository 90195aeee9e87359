"""The machine and its files; nothing here knows about captions."""
