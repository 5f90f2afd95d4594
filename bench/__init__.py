"""Measurements against named peers; RESULTS.md holds the tables. `python -m bench.NAME` runs one."""
