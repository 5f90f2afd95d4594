"""A corpus of good files with real detail, and the table of what is found in them: `make corpus` (docs/corpus.md)."""
