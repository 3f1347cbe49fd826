"""The verb `serve`: check the settings, then become the node.

The node's supervisor imports nothing but the standard library and our own pure modules before it forks, so this process, which has
click and python-dotenv loaded, does not run it: it replaces itself.
"""

import os
import sys
from collections.abc import Mapping
from typing import NoReturn

from fasterstore import settings

EXIT_WRONG_SETTING = 2


def main(environ: Mapping[str, str]) -> NoReturn:
    """Replace this process with the node.

    Args:
        environ: the complete environment of the node.

    Raises:
        SystemExit: with 2, after one line on stderr, if a setting is wrong.
    """
    try:
        settings.load(environ)
    except settings.SettingsError as error:
        print(error, file=sys.stderr)
        raise SystemExit(EXIT_WRONG_SETTING) from None
    os.execve(sys.executable, [sys.executable, "-m", "tools.node"], dict(environ))
