"""The one pipeline: a queue of jobs, the run of each, and what is remembered of it."""
