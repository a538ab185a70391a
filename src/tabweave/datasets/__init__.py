"""Kedro I/O: the only place that opens files for a pipeline."""
