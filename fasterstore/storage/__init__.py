"""Bytes on disk: segments, records, the write-ahead log."""
