"""Where the parts of a set lie in the store: the one place that spells these paths."""

_DIGITS = 6


def versions(name: str) -> str:
    """Folder of the manifests."""
    return f"{name}/versions"


def manifest(name: str, version: int) -> str:
    """A version's manifest."""
    return f"{versions(name)}/{version:0{_DIGITS}d}.json"


def removed(name: str) -> str:
    """Folder of the marks of versions that were removed."""
    return f"{name}/removed"


def removed_mark(name: str, version: int) -> str:
    """The mark that a version was removed. Its manifest stays, so that its number is never given again."""
    return f"{removed(name)}/{version:0{_DIGITS}d}.json"


def imports(name: str) -> str:
    """Folder of what imports have written, a folder for each."""
    return f"{name}/data"


def data(name: str, import_id: str) -> str:
    """Folder of an import's files."""
    return f"{imports(name)}/{import_id}"


def profile(name: str, digest: str) -> str:
    """The profile of the version whose manifest has this digest."""
    return f"{name}/profiles/{digest}.json"


def uses(name: str, version: int) -> str:
    """Folder of the marks of models' versions that learned from this version."""
    return f"{name}/uses/{version:0{_DIGITS}d}"


def numbers(names: list[str]) -> list[int]:
    """The versions that such files are named for, in order; other files are passed over."""
    stems = [name.removesuffix(".json") for name in names if name.endswith(".json")]
    return sorted(int(stem) for stem in stems if stem.isascii() and stem.isdigit())
