"""What the kernel counts of this process, as metric samples: for now its memory."""

import resource

from actors.samples import MetricSamples, metric

_STATM = "/proc/self/statm"
"""proc(5): sizes in pages; the second is what is resident."""


def process_samples(process: str) -> list[MetricSamples]:
    """Resident memory of this process, which the label `process` names; nothing where the kernel does not tell (no /proc)."""
    try:
        with open(_STATM, encoding="ascii") as file:
            resident_pages = int(file.read().split()[1])
    except OSError:
        return []
    value = resident_pages * resource.getpagesize()
    text = "Resident memory of a process; pages that several of them share count for each."
    return [metric("fasterstore_process_memory_bytes", "gauge", text, [["", {"process": process}, value]])]
