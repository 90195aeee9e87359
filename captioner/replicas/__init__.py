"""Where an engine runs. Every kind has the same few methods, so jobs have one path."""
