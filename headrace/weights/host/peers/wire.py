"""The protocol between two agents, over TCP: bytes in, values out, no socket.

    client ─ greeting: magic, nonce ─────────────▶ server
    client ◀─ greeting: magic, nonce; its proof ── server
    client ─ its proof ──────────────────────────▶ server
    then, any number of times:
    client ─ count, digests ─────────────────────▶ server
    client ◀─ a reply to each, in any order: the chunk, or ABSENT; WAIT now and then while chunks are on their way there

A proof is an HMAC-SHA256 over both nonces and the prover's side, by a key derived from the manifests' key: neither side
learns anything that it could use elsewhere, and what signs a manifest never signs what a stranger chose. Without a key
it is zeros. Bytes travel in the clear: the key keeps weights from whoever connects, not from whoever listens in.

Integers are little-endian.
"""

import hashlib
import hmac
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from headrace.weights.errors import PeerError
from headrace.weights.format.manifest import Keys, valid_keys

MAGIC = b"HRPEER1\0"
NONCE_SIZE = 16
PROOF_SIZE = hashlib.sha256().digest_size
GREETING_SIZE = len(MAGIC) + NONCE_SIZE
DIGEST_SIZE = 16
MAX_BATCH = 1 << 16
"""Digests in one request: 256 GiB of chunks of the usual size."""

_COUNT = struct.Struct("<I")
_REPLY = struct.Struct("<BIQ")
BATCH_HEAD_SIZE = _COUNT.size
REPLY_HEAD_SIZE = _REPLY.size


class Kind(IntEnum):
    """What a reply says."""

    CHUNK = 1
    """The chunk's bytes follow."""
    ABSENT = 2
    """It is not there, and not on its way."""
    WAIT = 3
    """Nothing yet; something is on its way. Its index and size mean nothing."""


@dataclass(frozen=True)
class Reply:
    """A reply's head: `index` counts the request's digests."""

    kind: Kind
    index: int
    size: int


def greeting(nonce: bytes) -> bytes:
    """Return a greeting's bytes."""
    return MAGIC + nonce


def nonce_of(greeting: bytes) -> bytes:
    """Return a greeting's nonce.

    Raises:
        PeerError: it is none.
    """
    if len(greeting) != GREETING_SIZE or not greeting.startswith(MAGIC):
        raise PeerError(f"no agent of this protocol answers: it said {greeting[:16]!r}")
    return greeting[len(MAGIC) :]


def proof(keys: Keys, side: str, client_nonce: bytes, server_nonce: bytes) -> bytes:
    """Return what ``side``, "client" or "server", has to show: by the first of its keys."""
    valid = valid_keys(keys)
    if not valid:
        return bytes(PROOF_SIZE)
    own = hmac.digest(valid[0], b"headrace agents' chunks, protocol 1", "sha256")
    return hmac.digest(own, side.encode() + b"\0" + client_nonce + server_nonce, "sha256")


def check_proof(shown: bytes, keys: Keys, side: str, client_nonce: bytes, server_nonce: bytes) -> None:
    """Raise `PeerError` unless ``shown`` is what ``side`` has to show, by one of the keys.

    Without a key anything passes.
    """
    valid = valid_keys(keys)
    wanted = (proof(key, side, client_nonce, server_nonce) for key in valid)
    if valid and not any(hmac.compare_digest(shown, one) for one in wanted):
        raise PeerError(
            f"the {side} has not proved that it has the manifests' key", hint="Give all agents the same signing_key."
        )


def request(digests: Sequence[str]) -> bytes:
    """Return a request's bytes.

    Raises:
        PeerError: a digest that is no digest, or too many.
    """
    try:
        names = [bytes.fromhex(digest) for digest in digests]
    except ValueError as error:
        raise PeerError(f"a chunk's name is no digest: {error}") from error
    if len(names) > MAX_BATCH or any(len(name) != DIGEST_SIZE for name in names):
        raise PeerError(f"a request of {len(names)} chunks cannot be written: too many, or a name is no digest")
    return _COUNT.pack(len(names)) + b"".join(names)


def request_size(head: bytes) -> int:
    """Return how many bytes of digests follow a request's first bytes.

    Raises:
        PeerError: no agent of ours asks for so many.
    """
    (count,) = _COUNT.unpack(head)
    if count > MAX_BATCH:
        raise PeerError(f"a request of {count} chunks, at most {MAX_BATCH} are allowed")
    return int(count) * DIGEST_SIZE


def digests_of(body: bytes) -> list[str]:
    """Return a request's digests."""
    return [body[at : at + DIGEST_SIZE].hex() for at in range(0, len(body), DIGEST_SIZE)]


def reply(kind: Kind, index: int = 0, size: int = 0) -> bytes:
    """Return the bytes of a reply's head."""
    return _REPLY.pack(kind, index, size)


def reply_of(head: bytes, sizes: Sequence[int | None]) -> Reply:
    """Decode a reply's head.

    Args:
        head: `REPLY_HEAD_SIZE` bytes.
        sizes: by index, the bytes of each chunk asked for; None where the answer is there already.

    Raises:
        PeerError: it answers nothing that was asked.
    """
    kind, index, size = _REPLY.unpack(head)
    if kind == Kind.WAIT:
        return Reply(Kind.WAIT, 0, 0)
    expected = sizes[index] if index < len(sizes) else None
    if kind not in {Kind.CHUNK, Kind.ABSENT} or expected is None or (kind == Kind.CHUNK and size != expected):
        raise PeerError(f"a reply of kind {kind}, {size} bytes, to digest {index} of {len(sizes)} was not asked for")
    return Reply(Kind(kind), index, size)
