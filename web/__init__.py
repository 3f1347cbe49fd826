"""HTTP in, S3 out. A handler is: parse, ask, render."""
