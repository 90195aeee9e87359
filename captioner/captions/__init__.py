"""The caption files: every change to them, who made it, and undo."""
