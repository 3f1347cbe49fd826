"""Rules of what makes an object out of another or changes one: copy, rename, append, tags; and bucket settings."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from actors import messages as m
from fasterstore.model import CopyIntent, PutIntent, RenameIntent
from tests.faults.agreement import KEYS, Agreement, buckets, choices, condition_draws, keys, no_conditions, pick
from tests.faults.engine import make_intent
from tests.faults.machine_bodies import bodies
from tests.faults.model import Expected

places = st.tuples(buckets, keys)


class CopyRules(Agreement):
    """See the module."""

    @rule(place=places, source=places, drawn=condition_draws, stale=st.sampled_from([False, False, False, True]))
    def copy(self, place: tuple, source: tuple, drawn: tuple, stale: bool) -> None:
        self._copy(place, source, drawn, stale)

    @precondition(lambda self: any(self._model.buckets.values()))
    @rule(place=places, choice=choices)
    def copy_what_is_there(self, place: tuple, choice: int) -> None:
        self._copy(place, pick(self._there(), choice), (None, None), False)

    @precondition(lambda self: any(self._model.buckets.values()))
    @rule(choice=choices)
    def copy_onto_itself(self, choice: int) -> None:
        place = pick(self._there(), choice)
        self._copy(place, place, (None, None), False)

    def _copy(self, place: tuple, source: tuple, drawn: tuple, stale: bool) -> None:
        (bucket, key), tag = place, self._tag()
        conditions = self._conditions(bucket, key, drawn)
        row = self._engine.view.locate(*source).object
        size_bytes, etag, stamp = (0, "", 0) if row is None else (row.size_bytes, row.etag, row.stamp - stale)
        target = PutIntent(bucket, key, size_bytes, etag, {}, {"tag": tag}, {}, **conditions._asdict())
        reply = self._engine.change(m.CopyObject(CopyIntent(target, *source, stamp))).get()
        found = self._model.find(*source)
        refusal = "" if bucket in self._model.buckets else "NoSuchBucket"
        refusal = refusal or self._model.refusal_of_change(*source) or ("SourceChanged" if stale else "")
        refusal = refusal or conditions.refusal(self._model.find(bucket, key))
        if found is not None and found.blob in self._model.noticed:
            refusal = refusal or "DamagedRecord"
        if refusal or found is None:
            self._agree(reply, refusal)
            return
        self._stored(reply, bucket, key, Expected(found.body, tag, found.etag, found.blob, found.manifest), True)

    @rule(bucket=buckets, key=keys, new_key=keys, drawn=condition_draws)
    def rename(self, bucket: str, key: bytes, new_key: bytes, drawn: tuple) -> None:
        conditions = self._conditions(bucket, new_key, drawn)
        reply = self._engine.change(m.RenameObject(RenameIntent(bucket, key, new_key, *conditions))).get()
        self._agree(reply, self._model.rename(bucket, key, new_key, conditions))
        self._check_object(bucket, key)
        self._check_object(bucket, new_key)

    @rule(bucket=buckets, key=keys, body=bodies, drawn=condition_draws, wrong=st.sampled_from([0, 0, 0, 1]), by_extent=st.booleans())
    def append(self, bucket: str, key: bytes, body: bytes, drawn: tuple, wrong: int, by_extent: bool) -> None:
        self._append(bucket, key, body, drawn, wrong, by_extent)

    @precondition(lambda self: any(self._model.buckets.values()))
    @rule(choice=choices, body=bodies, by_extent=st.booleans())
    def append_to_what_is_there(self, choice: int, body: bytes, by_extent: bool) -> None:
        self._append(*pick(self._there(), choice), body, (None, None), 0, by_extent)

    @rule(
        bucket=buckets,
        names=st.permutations(list(KEYS)),
        pieces=st.lists(st.sampled_from([b"one", b"two", b"three"]), min_size=2, max_size=3),
    )
    def append_to_two_that_share_their_bytes(self, bucket: str, names: list[bytes], pieces: list[bytes]) -> None:
        key, copied = names[:2]
        self._put(bucket, key, b"first", no_conditions, True)
        for piece in pieces[1:]:
            self._append(bucket, key, piece, (None, None), 0, False)
        self._copy((bucket, copied), (bucket, key), (None, None), False)
        for name in (copied, key):
            self._append(bucket, name, pieces[0], (None, None), 0, False)
        self._check_object(bucket, copied)

    def _append(self, bucket: str, key: bytes, body: bytes, drawn: tuple, wrong: int, by_extent: bool) -> None:
        conditions, old = self._conditions(bucket, key, drawn), self._model.find(bucket, key)
        at = (0 if old is None else len(old.body)) + wrong
        intent = make_intent(bucket, key, body, self._tag(), append_at=at, **conditions._asdict())
        reply = self._send_body(intent, body, by_extent)
        if old is None and at == 0:
            refusal = self._model.refusal_of_put(bucket, key, conditions, False)
        else:
            refusal = self._model.refusal_of_change(bucket, key) or conditions.refusal(old) or ("WrongOffset" if wrong else "")
        if refusal:
            self._agree(reply, refusal)
            if not by_extent:
                self._forget_appended(body)
            return
        if old is not None and not body:
            assert isinstance(reply, m.Stored) and (reply.lsn, reply.etag) == (0, old.etag), reply
            self._check_object(bucket, key)
            return
        blob, deduplicated = self._blob_of(body, by_extent)
        if old is None:
            self._stored(reply, bucket, key, Expected(body, intent.user["tag"], intent.etag, blob), deduplicated)
            return
        self._logged(reply, self._model.append(bucket, key, body, blob).etag, deduplicated)
        self._check_object(bucket, key)

    @rule(bucket=buckets, key=keys, tags=st.sampled_from([{}, {"colour": "red"}, {"a": "", "b": "c"}]))
    def tag(self, bucket: str, key: bytes, tags: dict) -> None:
        reply = self._engine.change(m.AmendObject(bucket, key, tags, None)).get()
        self._agree(reply, self._model.tag(bucket, key, tags))
        self._check_object(bucket, key)

    @rule(bucket=buckets, name=st.sampled_from(["cors", "policy"]), document=st.sampled_from([None, b"<one/>", b"<two/>"]))
    def configure(self, bucket: str, name: str, document: bytes | None) -> None:
        reply = self._engine.change(m.ConfigureBucket(bucket, name, document)).get()
        self._agree(reply, self._model.configure(bucket, name, document))
