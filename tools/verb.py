"""How a verb of the command line ends: what it says on stdout, or one line on stderr, and exit codes that mean the same for every verb.

    0  done; of `check` and `health`: all is well
    1  it was tried, and it failed or the answer is no: findings, no such thing, a refusal by the store or the node
    2  nothing was begun: a wrong setting or argument, no data dir, a node that runs where none may, or none where one must

Knows no verb. Must never: print a traceback for what an operator can put right.
"""

import os
import sys
from collections.abc import Callable, Mapping

from fasterstore import settings
from fasterstore.errors import StoreError
from fasterstore.storage.datadir import FORMAT_NAME, DirInUse

DONE, FAILED, NOT_BEGUN = 0, 1, 2


class NotBegun(Exception):
    """Nothing was begun; the text says why, in one line for people."""


class Failed(Exception):
    """It was tried in vain; the text says why, in one line for people."""


def run(verb: Callable[[], str]) -> int:
    """Run a verb and print what it returns; return the exit code.

    What `verb` raises is said in one line: SettingsError, NotBegun, DirInUse (2); Failed, StoreError, OSError (1).
    """
    try:
        print(verb())
    except (settings.SettingsError, NotBegun) as error:
        return _said(str(error), NOT_BEGUN)
    except DirInUse as error:
        return _said(f"{error.detail}: a node is running on this data dir; stop it first", NOT_BEGUN)
    except Failed as error:
        return _said(str(error), FAILED)
    except StoreError as error:
        return _said(f"{error.name}: {error.detail}", FAILED)
    except OSError as error:
        return _said(str(error), FAILED)
    return DONE


def data_dir_of(environ: Mapping[str, str]) -> str:
    """The path of the data dir that FS_DATA_DIR names, which need not be there. Raises SettingsError."""
    return os.path.abspath(settings.load(environ).data_dir)


def is_data_dir(path: str) -> bool:
    """Whether there is a store in that folder."""
    return os.path.exists(os.path.join(path, FORMAT_NAME))


def need_data_dir(path: str) -> str:
    """The same path; none is made. Raises NotBegun if there is no store in it."""
    if not is_data_dir(path):
        raise NotBegun(f"FS_DATA_DIR {path}: there is no data dir")
    return path


def _said(text: str, code: int) -> int:
    print(text, file=sys.stderr)
    return code
