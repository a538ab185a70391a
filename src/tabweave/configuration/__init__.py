"""What a run is told: YAML, --params, typed parameters and Kedro's loader."""
