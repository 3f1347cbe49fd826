"""What the harnesses find."""


class Violation(AssertionError):
    """The engine broke a promise."""
