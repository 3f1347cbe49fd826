"""What a server does with a new connection when it speaks TLS, before HTTP begins.

Owns: the handshake's place in a connection's life, how one that fails ends, and the counts of both. Must never: know buckets or keys; keep
a connection that is not secured.
"""

from __future__ import annotations

import socket

from actors.samples import MetricSamples, metric
from web.http_counters import HttpCounters
from web.http_limits import HttpLimits
from web.refusal import HttpRefusal, render_refusal
from web.response_head import response_prefix
from web.served_certificate import ServedCertificate
from web.tls_wire import NothingAgreed, SpeaksNoTls, TlsWire
from web.wire import IDLE, DeadlinePassed, PeerGone, Wire


class TlsAcceptor:
    """Secures connections with the certificate that is served at their time."""

    def __init__(self, certificate: ServedCertificate) -> None:
        self.certificate = certificate
        self.agreed = 0
        self.failed = 0
        """Handshakes that began and came to nothing; a peer that connects and says nothing has begun none."""

    def wire(self, client: socket.socket, peer: tuple[str, int], limits: HttpLimits, counters: HttpCounters) -> TlsWire:
        """The wire of an accepted socket; it costs what a plain one does until the peer's first byte."""
        return TlsWire(client, peer, limits, counters)

    def secure(self, wire: Wire, request_id: str) -> bool:
        """Shake hands on a wire of `wire()`, in the connection's own greenlet. False: nothing was agreed, and the wire is closed."""
        assert isinstance(wire, TlsWire)
        try:
            wire.handshake(lambda: self.certificate.context)
        except SpeaksNoTls as other:
            self.failed += 1
            self._refuse(wire, other.first_bytes, request_id)
        except NothingAgreed:
            self.failed += 1
            wire.linger_and_close()
        except (PeerGone, DeadlinePassed):
            self.failed += wire.phase != IDLE
            wire.close()
        else:
            self.agreed += 1
            return True
        return False

    def samples(self, process: str) -> list[MetricSamples]:
        """What /metrics shows; `process` names this process in gauges."""
        return [
            metric(
                "fasterstore_tls_handshakes",
                "counter",
                "TLS handshakes by their end.",
                [["_total", {"result": "agreed"}, self.agreed], ["_total", {"result": "failed"}, self.failed]],
            ),
            *self.certificate.samples(process),
        ]

    def _refuse(self, wire: TlsWire, first_bytes: bytes, request_id: str) -> None:
        if first_bytes[:1].isalpha():  # as every HTTP method begins; what else it may be would not understand an answer
            refusal = HttpRefusal(400, "InvalidRequest", "this port speaks TLS: use https://")
            try:
                wire.send_in_the_clear(render_refusal(refusal, request_id, response_prefix(), not first_bytes.startswith(b"HEAD ")))
            except (PeerGone, DeadlinePassed):
                pass
        wire.linger_and_close()
