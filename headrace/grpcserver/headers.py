"""Header blocks: HPACK (RFC 7541) by the library `hpack`, and what makes it cheap for a client that repeats itself.

A gRPC client sends the same headers with every call, so that after its first calls a block is a dozen bytes that name
entries of the table. Such a block means the same until the table changes: it is decoded once and remembered.
"""

import hpack
from hpack.exceptions import HPACKError

from headrace.grpcserver.frames import ConnectionFault, ErrorCode

Headers = tuple[tuple[str, str], ...]

_REMEMBERED = 64  # blocks; a client with more different ones is decoded as if there were no memory
_SHORT = 256  # bytes of a block that is worth remembering
_CHANGES_TABLE = 0x40  # a literal with incremental indexing; 0x20 is a change of the table's size
_NEW_SIZE = 0x20


class HeaderDecoder:
    """Decodes one connection's header blocks, in their order.

    Args:
        max_bytes: what names and values of one block may add up to.
    """

    def __init__(self, max_bytes: int) -> None:
        self._decoder = hpack.Decoder(max_header_list_size=max_bytes)
        self._known: dict[bytes, Headers] = {}

    def decode(self, block: bytes) -> Headers:
        """Names and values.

        Raises:
            ConnectionFault: the block is damaged or too large; the connection's table is lost with it.
        """
        headers = self._known.get(block)
        if headers is not None:
            return headers
        try:
            pairs = self._decoder.decode(block, raw=True)
            headers = tuple((str(n, "latin-1"), str(v, "latin-1")) for n, v in pairs)
        except (HPACKError, UnicodeError, IndexError) as error:
            raise ConnectionFault(ErrorCode.COMPRESSION_ERROR, f"headers: {error}") from error
        if changes_table(block):
            self._known.clear()
        elif len(block) <= _SHORT:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[block] = headers
        return headers


def changes_table(block: bytes) -> bool:
    """Whether a valid block adds to the table or resizes it.

    Only indexed fields and unindexed literals leave it as it is.
    """
    at, end = 0, len(block)
    while at < end:
        first = block[at]
        if first & 0x80:
            _, at = _integer(block, at, 7)
        elif first & (_CHANGES_TABLE | _NEW_SIZE):
            return True
        else:
            index, at = _integer(block, at, 4)
            for _ in range(1 if index else 2):
                length, at = _integer(block, at, 7)
                at += length
    return False


def _integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    """An integer with a prefix of so many bits, and where what follows begins (RFC 7541, section 5.1)."""
    most = (1 << bits) - 1
    value = block[at] & most
    at += 1
    if value < most:
        return value, at
    shift = 0
    while True:
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return value, at


def literal(name: str, value: str) -> bytes:
    """One header as a literal without indexing: it means the same whatever the peer's table holds."""
    return b"\x00" + _string(name) + _string(value)


def _string(text: str) -> bytes:
    raw = text.encode("latin-1")
    length = len(raw)
    if length < 0x7F:
        return bytes((length,)) + raw
    prefix = bytearray((0x7F,))
    length -= 0x7F
    while length >= 0x80:
        prefix.append(0x80 | (length & 0x7F))
        length >>= 7
    prefix.append(length)
    return bytes(prefix) + raw
