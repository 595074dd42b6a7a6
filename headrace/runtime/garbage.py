"""Python's cyclic garbage collector, set for processes that hold much and make many short-lived objects."""

import gc

YOUNG = 50_000
"""Objects made and not freed before the young ones are looked at; Python's default is 700 to 2000, which a chunk of ten
thousand records exceeds many times over, each time for nothing: its objects are freed by their reference counts."""


def settle() -> None:
    """Stop looking at what is there now, which stays for good, and look at new objects less often.

    With torch loaded there are some hundred thousand objects; a full collection walks over all of them with the
    interpreter's lock held, so every thread of the process stands still for as long.
    """
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 100)
