"""Name -> ref, local or remote. Owns the names of one process; must never start, stop or watch an actor."""

from actors.runtime import Ref
from fasterstore.errors import InvariantError


class Directory:
    """The actors that this process can reach, by name: the same for local refs (`FS_WORKERS=0`) and remote ones."""

    def __init__(self) -> None:
        self._refs: dict[str, Ref] = {}

    def register(self, name: str, ref: Ref) -> None:
        """Give `ref` that name; a name that is taken passes to it (a restarted actor)."""
        self._refs[name] = ref

    def get(self, name: str) -> Ref:
        """The ref of that name. Raises: InvariantError for a name that nobody registered (the composition root forgot it)."""
        try:
            return self._refs[name]
        except KeyError:
            raise InvariantError(f"no actor is registered as {name!r}") from None

    def find(self, name: str) -> Ref | None:
        """The ref of that name, or None: for names that come from outside."""
        return self._refs.get(name)

    def names(self) -> list[str]:
        """All names, in the order of registration."""
        return list(self._refs)
