"""Where an engine runs. Every kind of replica has the same few methods, so jobs treat them alike."""
