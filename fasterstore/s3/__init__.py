"""The S3 protocol as values: names, signatures, framing, conditions, XML, errors."""
