"""A Kafka broker's answers while its controller does not let it serve yet: it lists brokers, or none.

A real one says so for a moment after it was restarted, now and then. Two requests are answered, ApiVersions (version 0)
and Metadata (version 4, https://kafka.apache.org/protocol); the topic is always "t", with one partition.
InitProducerId, without which idempotent producers want nothing of a broker, is known and never answered.
"""

import socketserver
import struct
import threading
from typing import Self

_METADATA, _API_VERSIONS, _INIT_PRODUCER_ID = 3, 18, 22
_UNSUPPORTED_VERSION, _LEADER_NOT_AVAILABLE = 35, 5


class FencedBroker(socketserver.ThreadingTCPServer):
    """Answers at `address`; names itself while `serving`, else no broker."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.port = self.server_address[1]
        self.address = f"127.0.0.1:{self.port}"
        self.serving = True

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def metadata(self) -> bytes:
        myself = struct.pack(">i", 1) + _text("127.0.0.1") + struct.pack(">ih", self.port, -1)
        brokers = struct.pack(">i", 1) + myself if self.serving else struct.pack(">i", 0)
        error, leader = (0, 1) if self.serving else (_LEADER_NOT_AVAILABLE, -1)
        partition = struct.pack(">hii", error, 0, leader) + struct.pack(">iii", 1, 1, 0)
        topic = struct.pack(">h", 0) + _text("t") + struct.pack(">?i", False, 1) + partition
        return struct.pack(">i", 0) + brokers + _text("cluster") + struct.pack(">ii", 1, 1) + topic


class _Connection(socketserver.StreamRequestHandler):
    server: FencedBroker

    def handle(self) -> None:
        while len(head := self.rfile.read(4)) == 4:
            (size,) = struct.unpack(">i", head)
            api, version, correlation = struct.unpack_from(">hhi", self.rfile.read(size))
            if api == _API_VERSIONS:
                known = [(_METADATA, 4, 4), (_API_VERSIONS, 0, 0), (_INIT_PRODUCER_ID, 0, 0)]
                body = struct.pack(">hi", _UNSUPPORTED_VERSION if version else 0, len(known))
                body += b"".join(struct.pack(">hhh", *one) for one in known)
            elif api == _METADATA:
                body = self.server.metadata()
            else:
                continue
            self.wfile.write(struct.pack(">ii", len(body) + 4, correlation) + body)


def _text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()
