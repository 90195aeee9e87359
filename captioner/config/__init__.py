"""What the user chooses: settings, model presets and prompts."""
