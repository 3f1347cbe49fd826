"""cache: which verified blobs a worker keeps in memory. Serialises admission, eviction and the change of index.

Lookups do not pass the mailbox: `BlobCache.get` changes nothing but a mark, in the same native thread, and a message per GET would
cost more than the read it saves. What may change what is held goes through here.
"""

from typing import Any

from actors.messages import Admit, ForgetAll
from actors.runtime import GeventActor
from fasterstore.cache import BlobCache


class Cache(GeventActor):
    """Owner of one BlobCache."""

    name = "cache"

    def __init__(self, blobs: BlobCache) -> None:
        super().__init__()
        self._blobs = blobs
        self._index_uuid = b""

    def on_receive(self, message: Any) -> None:
        """Admit a blob, or empty the cache if the index is another one: its blob numbers mean other bytes."""
        if isinstance(message, Admit):
            self._blobs.admit(message.blob, message.body)
        elif isinstance(message, ForgetAll) and message.index_uuid != self._index_uuid:
            self._index_uuid = message.index_uuid
            self._blobs.clear()
