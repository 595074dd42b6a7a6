"""Settings of Python's cyclic garbage collector for processes with many long-lived and many short-lived objects."""

import gc

YOUNG = 50_000
"""The collector examines the young objects when so many more were made than freed.

Python's default is 700 to 2000. A chunk of ten thousand records exceeds that many times, each time for nothing, since
reference counts free its objects.
"""


def settle() -> None:
    """Exclude the objects that exist now, which stay for good, from collections, and collect new ones less often.

    With torch loaded there are some hundred thousand objects. A full collection visits all of them while it holds the
    interpreter's lock, and for as long no other thread of the process runs.
    """
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 100)
