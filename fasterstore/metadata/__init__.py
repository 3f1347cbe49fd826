"""What the bytes mean: journal entries, the index, judging and folding."""
