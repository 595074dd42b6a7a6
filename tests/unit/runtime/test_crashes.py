"""What is said of an exception: short, without values, the frames that help."""

import asyncio
import functools
from pathlib import Path

import pytest

from headrace.runtime import crashes, secrets
from headrace.runtime.crashes import MOST_LINES, render


def caught(raising, *arguments) -> BaseException:
    try:
        raising(*arguments)
    except Exception as error:  # noqa: BLE001 - whatever it was is what the test is about
        return error
    raise AssertionError("nothing was raised")


def fails(password: str) -> None:
    raise KeyError("a bug")


def deep(levels: int) -> None:
    deep(levels - 1) if levels else fails("hush-hush")


def linked(levels: int) -> None:
    try:
        linked(levels - 1) if levels else fails("hush-hush")
    except Exception as error:
        raise ValueError(f"level {levels}") from error


def test_a_traceback_has_frames_and_the_exception_and_no_value() -> None:
    text = render(caught(fails, "hush-hush"))
    assert text.startswith("Traceback (most recent call last):\n")
    assert f'File "{Path(__file__)}"' in text
    assert text.endswith("    raise KeyError(\"a bug\")\nKeyError: 'a bug'")
    assert "hush" not in text


def test_frames_of_libraries_are_counted() -> None:
    async def work() -> None:
        fails("hush-hush")

    text = render(caught(asyncio.run, work()))
    assert "  ... 3 more: asyncio\n" in text
    assert "in work\n" in text


def test_the_frame_that_raised_is_shown_wherever_it_is() -> None:
    text = render(caught(asyncio.run, 7))
    assert "raise ValueError(" in text.split("\n")[-2]


@functools.singledispatch
def between(levels: int) -> None:
    """Every second frame is functools'."""
    between(levels - 1) if levels else fails("hush-hush")


DEEP = [caught(deep, 200), caught(between, 60), caught(linked, 0), caught(linked, 2), caught(linked, 30)]


@pytest.mark.parametrize("error", DEEP)
def test_it_is_short_however_deep_and_however_long_the_chain(error: BaseException) -> None:
    lines = render(error).split("\n")
    assert len(lines) <= MOST_LINES
    assert any("raise KeyError" in line for line in lines)  # the cause is there


def test_the_innermost_frames_stay() -> None:
    text = render(caught(deep, 200))
    assert "in fails" in text
    assert "more: test_crashes" in text or "more: tests" in text


def test_a_long_message_is_cut_after_its_secrets_are_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "KNOWN", secrets.Redactor())
    secrets.KNOWN.learn(["hush-hush"])
    lengths = range(crashes.MESSAGE_WIDTH - 25, crashes.MESSAGE_WIDTH)
    for text in (render(ValueError("x" * length + " hush-hush" * 900)) for length in lengths):
        assert "hush" not in text
        assert len(text) < 2 * crashes.MESSAGE_WIDTH
    assert len(render(ValueError("line\n" * 900)).split("\n")) <= crashes.MESSAGE_LINES


def test_a_chain_that_bites_its_tail_ends() -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert render(first).count("ValueError") == 2


def test_the_first_of_a_group_is_shown() -> None:
    group = ExceptionGroup("both", [caught(fails, "hush-hush"), ValueError("other")])
    text = render(group)
    assert "KeyError: 'a bug'\n\nThe above exception is the first of a group of 2:\n" in text
    assert "ExceptionGroup: both (2 sub-exceptions)" in text
