"""Checking a whole store against itself: log, index, references, counters, segment files. Reads; only `repair` changes anything."""
