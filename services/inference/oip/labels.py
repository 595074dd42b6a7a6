"""Names of versions: numbers, as everywhere in the protocol, and labels beside them."""

import re

from services.inference.oip.messages import InvalidRequest

LATEST = "latest"
NEWEST = ("", LATEST, "-1")
"""What a request calls the version that answers those which name none."""
FLEETS = ("stable", "canary")
"""The labels that the fleet gives."""
RESERVED = (LATEST, *FLEETS)
NUMBER = re.compile(r"-?[0-9]{1,18}")

_LABEL = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,62}")
_SHOWN = 40


def is_label(text: str) -> bool:
    """Whether a text can be a label: it is in URLs, and no number."""
    return _LABEL.fullmatch(text) is not None


def no_version(name: str, labels: str) -> InvalidRequest:
    """What is wrong with a version that is neither a number nor one of the labels."""
    return InvalidRequest(
        f"failed to get model version from specified version string '{name[:_SHOWN]}': not an integer, nor one of the "
        f"labels {labels}"
    )
