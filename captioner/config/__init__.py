"""The choices of the user: settings, model presets and prompts."""
