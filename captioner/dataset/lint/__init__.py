"""The linter: what is wrong with captions, told from their text and what is known of their files."""
