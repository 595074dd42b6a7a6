"""Which tests go together into one of several processes (pytest-xdist)."""

from xdist.scheduler import LoadFileScheduling


class ByFile(LoadFileScheduling):
    """A file's tests stay together, and so do all of tests/e2e.

    Two whole systems at once would be much for two cores.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = str(super()._split_scope(nodeid))
        return "tests/e2e" if file.startswith("tests/e2e/") else file
