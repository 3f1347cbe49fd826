"""What the kernel says of this process."""

import resource
from mmap import mmap

from actors.process_samples import process_samples


def test_resident_memory_is_told_in_bytes_for_the_process_by_name():
    (found,) = process_samples("worker-3")
    ((suffix, labels, value),) = found["samples"]
    assert (found["name"], found["kind"], suffix, labels) == ("fasterstore_process_memory_bytes", "gauge", "", {"process": "worker-3"})
    most_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    assert 4 << 20 < value <= most_bytes + (1 << 20)


def test_memory_that_is_taken_shows():
    before = process_samples("storage")[0]["samples"][0][2]
    # Pages of its own: what the heap gives may have been resident all along.
    with mmap(-1, 32 << 20) as held:
        held.write(b"x" * len(held))
        after = process_samples("storage")[0]["samples"][0][2]
        assert after - before > len(held) // 2
