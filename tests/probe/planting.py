"""Variables that start a node with a bug planted in it: see `planted/sitecustomize.py`."""

from pathlib import Path

from tests.node import ROOT


def planted(bug: str) -> dict[str, str]:
    """Environment of a node with that bug."""
    return {"PYTHONPATH": f"{Path(__file__).parent / 'planted'}:{ROOT}", "PLANTED_BUG": bug}
