"""The specification's container: its folders, hyperparameters.json and exit codes."""
