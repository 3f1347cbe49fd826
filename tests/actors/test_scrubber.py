"""scrubber: paced, pausable, taking up where it was; what it finds reaches the journal, the books and the mark of the index."""

import errno

import pytest

from actors import messages as m
from actors.runtime import sleep
from actors.scrub_samples import scrub_samples
from actors.scrubber import PROGRESS_NAME, Scrubber
from fasterstore.metadata.index import IndexView
from fasterstore.scrub.progress import Position, unpack
from fasterstore.scrub.report import ScrubReport
from fasterstore.storage.index_mark import index_damage
from fasterstore.storage.quarantine import Quarantine
from fasterstore.storage.segment import segment_name
from tests.probe.eventually import eventually
from tests.storage_node import change

WEEK_SECS = 604_800


@pytest.fixture
def filled(node):
    for number in range(40):
        node.put(b"key-%d" % number, b"%d," % number * 700)
    node.settle()
    return node


@pytest.fixture
def scrub(filled):
    """Starts a scrubber over the node's files; stopped at the end."""
    started = []

    def start(interval_secs=WEEK_SECS, share=1.0, busy=lambda: False, first_step_secs=0.0, repair=None):
        report = ScrubReport(interval_secs, share)
        quarantine = Quarantine(filled.disk, filled.datadir.quarantine_dir, min_free_bytes=0)
        ref = Scrubber.start(
            filled.disk, filled.datadir, filled.directory, report, quarantine,
            now_ms=lambda: filled.now_ms, monotonic=lambda: filled.monotonic_secs, busy=busy, repair=repair,
            first_step_secs=first_step_secs,
        )  # fmt: skip
        started.append(ref)
        return ref, report

    yield start
    for ref in started:
        if ref.is_alive():
            ref.stop()


def blob(node, key):
    view = IndexView(node.index_path)
    found = view.locate("b", key).blob
    view.close()
    return found


def rot(node, key):
    row = blob(node, key)
    fd = node.disk.open(f"{node.datadir.segments_dir}/{segment_name(row.location.segment_id)}")
    node.disk.pwrite(fd, b"rot", row.location.offset + 200)
    node.disk.close(fd)
    return row


def ended(report, number=1):
    eventually(lambda: report.progress.finished and report.progress.round == number, "the round has ended")


def test_a_round_begins_by_itself_and_the_next_one_an_interval_later(filled, scrub):
    ref, report = scrub(share=0.5)
    ended(report)
    assert report.progress.last.counts.records == 40
    assert report.state == "idle"
    filled.monotonic_secs += WEEK_SECS - 1
    ref.tell(m.ScrubOn(ref._actor_weakref()._turn))
    ref.ask(m.ScrubAction())
    assert report.progress.round == 1
    filled.monotonic_secs += 2
    ref.tell(m.ScrubOn(ref._actor_weakref()._turn))
    ended(report, 2)


def test_the_wait_for_the_next_round_survives_a_kill(filled, scrub):
    ref, report = scrub()
    ended(report)
    filled.monotonic_secs += 100_000
    ref.tell(m.ScrubOn(ref._actor_weakref()._turn))
    ref.ask(m.ScrubAction())
    saved = unpack(filled.disk.contents(f"{filled.datadir.path}/{PROGRESS_NAME}"))
    assert (saved.finished, saved.elapsed_ms) == (True, 100_000_000)


def test_off_means_only_when_asked_for(scrub):
    ref, report = scrub(interval_secs=0)
    sleep(0.05)
    assert (report.state, report.counts.records) == ("off", 0)
    assert ref.ask(m.ScrubAction("start"))["state"] == "running"
    ended(report)
    assert (report.state, report.counts.records) == ("off", 40)


def test_a_bad_record_is_told_to_the_journal_and_to_whoever_may_repair_it(filled, scrub):
    class Peer:
        asked = []

        def wanted(self, row):
            self.asked.append(row)

    row = rot(filled, b"key-7")
    _, report = scrub(repair=Peer())
    ended(report)
    filled.settle()
    assert blob(filled, b"key-7").damaged
    assert Peer.asked == [row]
    assert report.progress.last.counts.damaged == 1
    assert len(filled.disk.listdir(filled.datadir.quarantine_dir)) == 1
    samples = {sample["name"]: sample["samples"] for sample in scrub_samples(report)}
    assert samples["fasterstore_scrub_damaged"] == [["_total", {}, 1]]
    assert ["", {"state": "idle"}, 1] in samples["fasterstore_scrub_state"]


def test_a_bad_index_row_marks_the_index_for_the_next_start(filled, scrub):
    change(filled.index_path, "UPDATE usage SET value = x'00112233'")
    ref, report = scrub()
    ended(report)
    assert "usage" in index_damage(filled.disk, filled.datadir)
    status = ref.ask(m.ScrubAction())
    assert status["degraded"] == ["the index is damaged; the next start makes it anew"], "no reason, which may hold a key"
    assert "usage" in status["findings"][0]


def test_an_index_by_which_records_cannot_be_found_is_marked_and_the_round_ends(filled, scrub, monkeypatch):
    monkeypatch.setattr("actors.scrubber.AGAIN_SECS", 0.0)
    change(filled.index_path, "UPDATE segments SET value = x'00112233' WHERE segment_id = 1")
    _, report = scrub()
    ended(report)
    assert "segments" in index_damage(filled.disk, filled.datadir)
    assert report.progress.counts.damaged == 1


def test_a_read_that_only_this_process_could_not_do_is_no_damage_and_is_tried_again(filled, scrub, monkeypatch):
    monkeypatch.setattr("actors.scrubber.RETRY_SECS", 0.01)
    plain_open, refused = filled.disk.open, []

    def out_of_descriptors(path, **how):
        if path.endswith(".seg") and not refused:
            refused.append(path)
            raise OSError(errno.EMFILE, "too many open files")
        return plain_open(path, **how)

    filled.disk.open = out_of_descriptors
    ref, report = scrub()
    ended(report)
    assert refused
    assert report.progress.counts.damaged == 0
    assert report.progress.counts.records == 40
    assert "too many" in str(ref._actor_weakref().vitals.last_error)


def test_a_paused_round_does_nothing_and_goes_on_where_it_was(filled, scrub):
    ref, report = scrub(first_step_secs=1e6)
    assert ref.ask(m.ScrubAction("pause"))["state"] == "paused"
    ref.tell(m.ScrubOn(ref._actor_weakref()._turn))
    ref.ask(m.ScrubAction())
    assert report.counts.bytes == 0
    ref.ask(m.ScrubAction("resume"))
    ended(report)
    assert report.counts.records == 40


def test_it_waits_for_those_in_front_but_not_for_ever(filled, scrub, monkeypatch):
    monkeypatch.setattr("actors.scrubber.YIELD_SECS", 0.0)
    asked = []

    def busy():
        asked.append(1)
        return True

    _, report = scrub(busy=busy)
    ended(report)
    assert len(asked) > 20


def test_a_stopped_scrubber_takes_up_its_round_and_its_last_one(filled, scrub):
    ref, report = scrub(first_step_secs=1e6)
    actor = ref._actor_weakref()
    for _ in range(3):
        turn = actor._turn
        ref.tell(m.ScrubOn(turn))
        ref.ask(m.ScrubAction("pause"))
        ref.ask(m.ScrubAction())
        report.paused = False
    ref.ask(m.ScrubAction("pause"))
    ref.stop()
    saved = unpack(filled.disk.contents(f"{filled.datadir.path}/{PROGRESS_NAME}"))
    assert saved.position.phase in ("records", "index", "log")
    assert saved == report.progress
    _, again = scrub()
    ended(again)
    assert again.progress.counts.records == 40
    assert again.counts.bytes == again.progress.counts.bytes - saved.counts.bytes


def test_progress_that_cannot_be_read_begins_a_round(filled, scrub):
    fd = filled.disk.open(f"{filled.datadir.path}/{PROGRESS_NAME}", create=True)
    filled.disk.pwrite(fd, b"not a document", 0)
    filled.disk.close(fd)
    _, report = scrub()
    ended(report)
    assert report.progress.position == Position()


def test_the_rest_after_a_step_is_its_share(filled):
    report = ScrubReport(WEEK_SECS, 0.05)
    report.total_bytes = 1
    from fasterstore.scrub.damage import Step
    from fasterstore.scrub.progress import Counts

    step = Step(Position(), Counts(bytes=1 << 20))
    assert report.rest_secs(0.01, step) == pytest.approx(0.19)
    report.full_speed = True
    assert report.rest_secs(0.01, step) == 0.0
