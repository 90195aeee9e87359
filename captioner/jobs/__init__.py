"""The pipeline: a queue of jobs, the run of each, and the journal of what happened."""
