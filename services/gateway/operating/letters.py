"""Dead letters by REST: which there are, one with its bytes, and putting them back."""

import getpass
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from headrace.contracts.plain_values import plain_value, text
from headrace.contracts.topics import DEAD_LETTER_SUFFIX
from headrace.deadletters.letters import Letter
from headrace.deadletters.plan import Plan, plan
from headrace.deadletters.read import Listed, find_letter, list_letters, read_letters, replayed, topics_with_letters
from headrace.deadletters.replay import replay
from headrace.deadletters.selection import Selection, parse_place, parse_since
from headrace.runtime.settings import ServiceSettings
from services.gateway.errors import UnknownError


class Chosen(msgspec.Struct, forbid_unknown_fields=True):
    """Which letters, and whether only to say what would be done. All conditions must hold."""

    places: list[str] | None = None
    phase: str | None = None
    reason: str = ""
    since: str | None = None
    dry_run: bool = False

    def selection(self) -> Selection:
        """The same for `headrace.deadletters`.

        Raises:
            ConfigError: a place or a time is not one.
        """
        since_us = parse_since(self.since, datetime.now(UTC)) if self.since else 0
        places = None if self.places is None else frozenset(map(parse_place, self.places))
        return Selection(self.phase or None, self.reason, since_us, places)


def listed(
    settings: ServiceSettings, pipeline: str, topic: str | None, chosen: Chosen, limit: int
) -> Mapping[str, Any]:
    """The newest letters, the newest first.

    Raises:
        ConfigError: there is no such topic, or a condition is not one.
        DependencyError: Kafka does not answer.
    """
    topics = topics_with_letters(settings, pipeline, topic)
    listing = list_letters(settings, topics, chosen.selection())
    newest = [one.letter.as_dict(replayed=one.replayed) for one in reversed(listing.letters[-limit:])]
    return {"letters": newest, "count": len(listing.letters), "unreadable": listing.unreadable, "topics": topics}


def shown(settings: ServiceSettings, pipeline: str, topic: str, place: str) -> Mapping[str, Any]:
    """One letter, with its record as it was.

    Raises:
        ConfigError: there is no such topic, or the place is not one.
        UnknownError: there is no such letter.
        DependencyError: Kafka does not answer.
    """
    wanted = parse_place(place)
    (name,) = topics_with_letters(settings, pipeline, topic)
    found = find_letter(settings, name, wanted)
    if found is None:
        raise UnknownError(f"no dead letter of {name} at {place}")
    return _whole(found)


def put_back(settings: ServiceSettings, pipeline: str, topic: str, chosen: Chosen) -> Mapping[str, Any]:
    """Put letters back on their topic, each once, or say what would be; errors as `listed`."""
    selection = chosen.selection()
    (name,) = topics_with_letters(settings, pipeline, topic)
    found = read_letters(settings, name).found
    if chosen.dry_run:
        return {"topic": name, "replayed": 0, **_counted(plan(found, selection, replayed(settings, name)))}
    said: dict[str, Any] = {}

    def choose(done: set[str]) -> list[Letter]:
        made = plan(found, selection, done)
        said.update(_counted(made))
        return made.fresh

    count = replay(settings, name, choose, by=getpass.getuser())
    return {"topic": name, "replayed": count, **said}


def _counted(made: Plan) -> dict[str, int]:
    return {
        "chosen": made.chosen,
        "fresh": len(made.fresh),
        "already_replayed": made.replayed,
        "same_record": made.same_record,
        "passed_over": made.passed_over,
    }


def _whole(found: Listed) -> dict[str, Any]:
    body = found.letter.body
    return {
        **found.letter.as_dict(replayed=found.replayed),
        "dead_letters": body.topic + DEAD_LETTER_SUFFIX,
        "key": text(body.key) if body.HasField("key") else None,
        "value": plain_value(body.topic, body.value) if body.HasField("value") else None,
        "headers": {one.name: text(one.value) if one.HasField("value") else None for one in body.headers},
    }
