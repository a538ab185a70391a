"""Benchmarks: each ends with one JSON line. Speed and quality, apart from the tests."""
