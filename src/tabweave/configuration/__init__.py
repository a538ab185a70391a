"""The configuration of a run: YAML, --params, typed parameters and Kedro's loader."""
