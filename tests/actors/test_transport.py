import os
import socket
import stat
import struct

import pykka
import pytest

from actors.directory import Directory
from actors.messages import Deleted, DeleteObject, Done, PutObject, Refused
from actors.runtime import ActorDeadError, ActorFailure, Event, GeventActor, ask, joinall, sleep, spawn, tell
from actors.transport import Hello, StorageLink, StorageListener
from actors.wire import ASK, MAX_FRAME_BYTES, REPLY, encode
from fasterstore.errors import InvariantError
from fasterstore.model import DeleteIntent, PutIntent

INTENT = PutIntent("bucket", b"key", 3, "e" * 32, {}, {}, {})
SOON_SECS = 5


class Journal(GeventActor):
    """Answers asks of storage; `hold` keeps a Done until it is set."""

    max_batch = 64

    def __init__(self, **kwargs):
        super().__init__(name="journal", **kwargs)
        self.seen = []
        self.hold = Event()

    def on_batch(self, envelopes):
        for envelope in envelopes:
            message = envelope.message
            self.seen.append(message)
            if message == "raise":
                raise ValueError("storage defect")
            if message == "unpackable":
                envelope.reply(object())
            elif message == "huge":
                envelope.reply(b"x" * (MAX_FRAME_BYTES + 1))
            elif message == "twice":
                envelope.reply(1)
                envelope.reply(2)
            elif isinstance(message, PutObject):
                envelope.reply([type(message).__name__, type(message.intent).__name__, message.body])
            elif isinstance(message, DeleteObject):
                envelope.reply(Deleted(len(message.intent.key)))
            elif isinstance(message, Done):
                self.keep(envelope)
                spawn(self._later, envelope)
            else:
                envelope.reply(message)

    def _later(self, envelope):
        self.hold.wait()
        envelope.reply("late")


class Observer(GeventActor):
    def on_receive(self, message):
        return {"of": self.name, "asked": message}


class Node:
    """A storage end with a journal and any number of worker ends, in this process."""

    def __init__(self, folder):
        self.folder = str(folder)
        self.directory = Directory()
        self.journal = Journal.start()
        self.directory.register("journal", self.journal)
        self.events = []
        self.hellos = []
        self.epoch = 1
        self.limits = (1 << 20, 100)
        self.links = []
        self.listener = None
        self.listen()

    def listen(self):
        self.listener = StorageListener(
            self.folder,
            self.directory,
            lambda: Hello(self.epoch, b"i" * 16, b"l" * 16, *self.limits),
            on_connect=lambda worker: self.events.append(("connected", worker)),
            on_disconnect=lambda worker: self.events.append(("gone", worker)),
        )
        self.listener.start()

    def link(self, worker=1, on_hello=None, on_lost=lambda: None):
        directory = Directory()
        directory.register("observer", Observer.start(name=f"observer {worker}"))
        link = StorageLink(self.folder, worker, directory, on_hello or self.hellos.append, on_lost)
        link.start()
        self.links.append(link)
        return link

    def connected(self, worker=1):
        link = self.link(worker)
        self.listener.ready()
        wait_until(lambda: link.state == "connected")
        return link

    @property
    def seen(self):
        """What has reached the journal."""
        return self.journal._actor_weakref().seen

    def stop(self):
        for link in self.links:
            link.stop()
        self.listener.stop()
        for ref in pykka.ActorRegistry.get_all():
            ref.kill()


def wait_until(condition):
    for _ in range(SOON_SECS * 200):
        if condition():
            return
        sleep(0.005)
    raise AssertionError("did not come true in time")


@pytest.fixture
def node(tmp_path):
    node = Node(tmp_path)
    yield node
    node.stop()


def test_a_worker_asks_storage_as_it_would_ask_a_local_actor(node):
    journal = node.connected().ref("journal")
    assert ask(journal, DeleteObject("bucket", DeleteIntent(b"four")), 5) == Deleted(4)
    assert type(ask(journal, DeleteObject("bucket", DeleteIntent(b"x")), 5)) is Deleted
    body = os.urandom(64 * 1024)
    assert ask(journal, PutObject(INTENT, b"i" * 32, body), 5) == ["PutObject", "PutIntent", body]


def test_tells_arrive_in_order_before_a_later_ask(node):
    journal = node.connected().ref("journal")
    for number in range(500):
        assert tell(journal, number)
    assert ask(journal, "last", 5) == "last"
    assert node.journal.actor_class is Journal
    assert ask(node.journal, "local", 5) == "local"


def test_many_asks_in_flight_get_each_their_own_answer(node):
    node.limits = (64 << 20, 1000)
    journal = node.connected().ref("journal")

    def worker(number):
        for turn in range(20):
            message = f"{number}-{turn}".encode() * (1 + number * 100)
            assert ask(journal, message, 5) == message

    workers = [spawn(worker, number) for number in range(40)]
    joinall(workers, timeout=20)
    assert all(greenlet.successful() for greenlet in workers)


def test_more_than_the_socket_takes_at_once_arrives_whole(node):
    node.limits = (64 << 20, 1000)
    journal = node.connected().ref("journal")
    bodies = [os.urandom(64 * 1024) for _ in range(60)]
    replies = [journal.ask(PutObject(INTENT, b"i" * 32, body), block=False) for body in bodies]
    assert [reply.get(timeout=5)[2] for reply in replies] == bodies


def test_storage_asks_a_workers_observer(node):
    node.connected(worker=7)
    (peer,) = node.listener.peers()
    assert peer.worker == 7
    assert ask(peer.ref("observer"), "how", 5) == {"of": "observer 7", "asked": "how"}


def test_a_defect_in_storage_reaches_the_worker_as_actor_failure(node):
    journal = node.connected().ref("journal")
    with pytest.raises(ActorFailure, match="journal: ValueError: storage defect"):
        ask(journal, "raise", 5)
    assert ask(journal, "alive", 5) == "alive"


@pytest.mark.parametrize("message", ["unpackable", "huge"])
def test_an_answer_that_cannot_be_sent_fails_the_ask_and_not_the_connection(node, message):
    journal = node.connected().ref("journal")
    with pytest.raises(ActorFailure, match="no place on the wire"):
        ask(journal, message, 5)
    assert ask(journal, "alive", 5) == "alive"
    assert len(node.hellos) == 1


def test_a_second_reply_does_not_cross_the_wire(node):
    journal = node.connected().ref("journal")
    assert ask(journal, "twice", 5) == 1
    assert ask(journal, "alive", 5) == "alive"
    assert len(node.hellos) == 1


def test_a_dead_or_unknown_actor_behind_the_socket_fails_the_ask_at_once(node):
    link = node.connected()
    node.journal.kill()
    for name in ("journal", "nobody"):
        with pytest.raises(ActorDeadError):
            ask(link.ref(name), 1, 5)
    assert link.state == "connected"


def test_an_actor_that_is_killed_in_hand_fails_the_remote_asker(node):
    journal = node.connected().ref("journal")
    reply = journal.ask(Done(), block=False)
    wait_until(lambda: node.seen == [Done()])
    node.journal.kill()
    with pytest.raises(ActorDeadError):
        reply.get(timeout=5)


def test_a_message_that_cannot_be_sent_is_refused_at_the_sender(node):
    journal = node.connected().ref("journal")
    for message in (object(), b"x" * (MAX_FRAME_BYTES + 1)):
        with pytest.raises(InvariantError, match="no place on the wire"):
            journal.ask(message)
    assert ask(journal, "alive", 5) == "alive"


def test_before_ready_a_worker_waits_and_sees_the_progress(node):
    link = node.link()
    node.listener.progress("replay", 1, 9)
    wait_until(lambda: link.progress.text == "replay")
    assert link.state == "waiting"
    assert ask(link.ref("journal"), 1, 5) == Refused("Unavailable", "no connection to storage")
    node.listener.progress("replay", 2, 9)
    wait_until(lambda: link.progress.done == 2)
    later = node.link(worker=2)
    wait_until(lambda: later.progress.done == 2)
    node.listener.ready()
    wait_until(lambda: link.state == "connected" and later.state == "connected")
    assert link.hello == node.hellos[0] == Hello(1, b"i" * 16, b"l" * 16, *node.limits)


def test_storage_lets_no_ask_in_before_it_is_ready(node):
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(5)
        raw.connect(os.path.join(node.folder, "storage.sock"))
        raw.sendall(b"".join(encode(ASK, 1, "journal", "early")))
        assert raw.recv(65536) == b"".join(encode(REPLY, 1, "", Refused("Unavailable", "not ready")))


def test_a_link_is_not_connected_before_on_hello_has_returned(node):
    go_on, states = Event(), []

    def on_hello(_hello):
        states.append(link.state)
        go_on.wait()

    link = node.link(on_hello=on_hello)
    node.listener.ready()
    wait_until(lambda: states == ["waiting"])
    assert ask(link.ref("journal"), 1, 5).error == "Unavailable"
    go_on.set()
    wait_until(lambda: link.state == "connected")


def test_a_connection_that_breaks_during_on_hello_does_not_count_as_connected(node):
    begun, go_on, states, lost = Event(), Event(), [], []

    def on_hello(_hello):
        begun.set()
        go_on.wait()

    link = node.link(on_hello=on_hello, on_lost=lambda: lost.append(1))
    node.listener.ready()
    assert begun.wait(5)
    node.listener.stop()
    wait_until(lambda: lost)
    go_on.set()
    for _ in range(10):
        sleep(0)
        states.append(link.state)
    assert set(states) == {"waiting"}


def test_what_on_hello_opens_after_the_connection_broke_is_lost_too(node):
    begun, go_on, opened, lost = Event(), Event(), [], []

    def on_hello(_hello):
        begun.set()
        go_on.wait()
        opened.append("index")

    def on_lost():
        lost.append(1)
        opened.clear()

    link = node.link(on_hello=on_hello, on_lost=on_lost)
    node.listener.ready()
    assert begun.wait(5)
    node.listener.stop()
    wait_until(lambda: len(lost) == 1)
    go_on.set()
    wait_until(lambda: len(lost) == 2)
    assert (link.state, opened) == ("waiting", [])


def test_a_link_whose_on_hello_raises_tries_again(node):
    attempts = []

    def on_hello(_hello):
        attempts.append(1)
        if len(attempts) < 3:
            raise OSError("index is not there yet")

    link = node.link(on_hello=on_hello)
    node.listener.ready()
    wait_until(lambda: link.state == "connected")
    assert len(attempts) == 3


def test_a_broken_connection_makes_pending_asks_unknown_and_later_ones_unavailable(node):
    link = node.connected()
    journal = link.ref("journal")
    replies = [journal.ask(Done(), block=False) for _ in range(3)]
    wait_until(lambda: node.seen == [Done()] * 3)
    node.listener.stop()
    assert [reply.get(timeout=5).error for reply in replies] == ["OutcomeUnknown"] * 3
    assert link.state == "waiting"
    assert ask(journal, 1, 5).error == "Unavailable"
    assert tell(journal, 1) is False


def test_a_link_reconnects_with_the_new_epoch_and_nothing_is_sent_twice(node):
    link = node.connected()
    journal = link.ref("journal")
    pending = journal.ask(Done(), block=False)
    wait_until(lambda: node.seen == [Done()])
    node.listener.stop()
    assert pending.get(timeout=5).error == "OutcomeUnknown"
    node.epoch = 2
    node.listen()
    node.listener.ready()
    wait_until(lambda: link.state == "connected")
    assert [hello.epoch for hello in node.hellos] == [1, 2]
    assert ask(journal, "after", 5) == "after"
    assert node.seen == [Done(), "after"]


def test_connects_and_disconnects_are_told_by_worker_number(node):
    link = node.connected(worker=3)
    node.connected(worker=4)
    assert [peer.worker for peer in node.listener.peers()] == [3, 4]
    link.stop()
    wait_until(lambda: ("gone", 3) in node.events)
    assert node.events == [("connected", 3), ("connected", 4), ("gone", 3)]
    assert [peer.worker for peer in node.listener.peers()] == [4]


def test_a_worker_that_connects_anew_replaces_its_former_connection(node):
    first = node.connected(worker=3)
    node.links.remove(first)
    second = node.link(worker=3)
    wait_until(lambda: second.state == "connected")
    first.stop()
    assert node.events[:3] == [("connected", 3), ("gone", 3), ("connected", 3)]


def test_asks_of_storage_to_a_worker_that_goes_are_unknown(node):
    link = node.connected(worker=3)
    (peer,) = node.listener.peers()
    observer = peer.ref("observer")
    reply = observer.ask("x", block=False)
    link.stop()
    assert reply.get(timeout=5).error == "OutcomeUnknown" or reply.get() == {"of": "observer 3", "asked": "x"}
    wait_until(lambda: peer.channel.closed)
    assert ask(observer, "x", 5).error == "Unavailable"


def test_past_the_depth_an_ask_is_refused_and_an_exempt_one_is_not(node):
    node.limits = (1 << 20, 3)
    link = node.connected()
    journal = link.ref("journal")
    held = [journal.ask(Done(), block=False) for _ in range(3)]
    assert not link.admit(1)
    assert ask(journal, "one more", 5) == Refused("Overloaded", "too many requests in flight")
    assert ask(link.ref("journal", exempt=True), "introspection", 5) == "introspection"
    node.journal._actor_weakref().hold.set()
    assert [reply.get(timeout=5) for reply in held] == ["late"] * 3
    assert ask(journal, "one more", 5) == "one more"


def test_past_the_credit_in_bytes_an_ask_is_refused_until_answers_give_it_back(node):
    node.limits = (100_000, 100)
    link = node.connected()
    journal = link.ref("journal")
    body = os.urandom(60_000)
    first = journal.ask(body, block=False)
    assert not link.admit(60_000) and link.admit(1000)
    assert ask(journal, body, 5) == Refused("Overloaded", "too many bytes in flight")
    assert first.get(timeout=5) == body
    assert link.admit(60_000)
    assert ask(journal, body, 5) == body


def test_an_expired_ask_is_unknown_and_holds_its_credit_until_the_late_answer(node):
    node.limits = (1 << 20, 1)
    link = node.connected()
    journal = link.ref("journal")
    assert ask(journal, Done(), 0.01).error == "OutcomeUnknown"
    assert not link.admit(1)
    node.journal._actor_weakref().hold.set()
    wait_until(lambda: link.admit(1))
    assert ask(journal, "next", 5) == "next"


@pytest.mark.parametrize(
    "stream",
    [
        struct.pack("<I", MAX_FRAME_BYTES + 1),
        struct.pack("<I", 3) + b"\xc1\xc1\xc1",
        b"".join(encode(REPLY, 77, "", "an answer nobody asked for")),
    ],
)
def test_a_malformed_or_oversized_frame_closes_that_connection_only(node, stream):
    link = node.connected()
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(5)
        raw.connect(os.path.join(node.folder, "storage.sock"))
        raw.sendall(stream)
        assert raw.recv(1) == b""
    assert ask(link.ref("journal"), "alive", 5) == "alive"


def test_a_worker_survives_a_storage_that_sends_rubbish(tmp_path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "storage.sock"))
        server.listen()
        hellos = []
        link = StorageLink(str(tmp_path), 1, Directory(), hellos.append)
        link.start()
        for _ in range(2):
            connection, _ = server.accept()
            connection.sendall(struct.pack("<I", 5) + b"\xff" * 5)
            connection.settimeout(5)
            while connection.recv(4096):
                pass
            connection.close()
        assert link.state == "waiting" and hellos == []
        link.stop()


def test_the_socket_is_private_in_a_folder_with_a_long_name_and_gone_after_stop(tmp_path):
    folder = tmp_path / ("long" * 40)
    folder.mkdir()
    (folder / "storage.sock").write_bytes(b"left over")
    node = Node(folder)
    mode = os.stat(folder / "storage.sock").st_mode
    assert stat.S_ISSOCK(mode) and stat.S_IMODE(mode) == 0o600
    assert ask(node.connected().ref("journal"), 1, 5) == 1
    node.stop()
    assert os.listdir(folder) == []


def test_answers_given_in_the_very_turn_of_the_close_still_arrive(node):
    journal = node.connected().ref("journal")
    replies = [journal.ask(Done(), block=False) for _ in range(5)]
    kept = node.journal._actor_weakref()._kept
    wait_until(lambda: len(kept) == 5)
    for number, envelope in enumerate(list(kept.values())):
        envelope.reply(number)
    node.listener.peers()[0].channel.close("storage stops")
    assert [reply.get(timeout=5) for reply in replies] == list(range(5))


def test_stop_leaves_no_descriptor_behind(tmp_path):
    def descriptors():
        return len(os.listdir("/proc/self/fd"))

    for turn in range(3):
        if turn == 1:
            before = descriptors()
        node = Node(tmp_path)
        ask(node.connected().ref("journal"), 1, 5)
        node.stop()
    wait_until(lambda: descriptors() == before)
