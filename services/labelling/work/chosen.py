"""Choosing a share of names by their hash: always the same ones, whoever asks."""

from hashlib import blake2b

_HASHES = 1 << 64


def is_chosen(purpose: str, name: str, share: float) -> bool:
    """Whether a name is in the share that is chosen for a purpose. Different purposes choose independently."""
    if share >= 1.0:
        return True
    if share <= 0.0:
        return False
    digest = blake2b(name.encode(), digest_size=8, person=purpose.encode()[:16]).digest()
    return int.from_bytes(digest, "big") < share * _HASHES
