"""One package per stage: thin nodes that call the library and nothing else."""
