"""What an import fixes before it begins, so that one that died makes the same version when it goes on."""

from pathlib import Path

import msgspec

from headrace.datasets.catalogue import Catalogue
from headrace.datasets.importing.job import Files, ImportJob, Query, Split, Topic
from headrace.datasets.reading.query import tables_of
from headrace.runtime.files import synced
from headrace.runtime.settings import ServiceSettings
from headrace.runtime.topic_ranges import Offsets, offsets_of


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The offsets of a topic's range, and the exact versions of sets by the tables of a query (or "" of a split)."""

    starts: Offsets = {}
    ends: Offsets = {}
    sets: dict[str, str] = {}
    created_us: int = 0


def settled(job: ImportJob, catalogue: Catalogue, settings: ServiceSettings, now_us: int) -> Plan:
    """The import's plan: that of the run before, if it came so far.

    Raises:
        ConfigError: there is no such range, or no such set.
        DependencyError: Kafka does not answer.
    """
    path = _file(job)
    if path.exists():
        return msgspec.json.decode(path.read_bytes(), type=Plan)
    plan = _new(job, catalogue, settings, now_us)
    with synced(path) as file:
        file.write(msgspec.json.encode(plan))
    return plan


def _file(job: ImportJob) -> Path:
    return job.path / "plan.json"


def _new(job: ImportJob, catalogue: Catalogue, settings: ServiceSettings, now_us: int) -> Plan:
    match job.source:
        case Topic(topic, start, end):
            starts, ends = offsets_of(settings, topic, start, end)
            return Plan(starts=starts, ends=ends, created_us=now_us)
        case Query(query, given):
            named = {table: catalogue.manifest(given.get(table, table)).set for table in tables_of(query)}
            return Plan(sets=named, created_us=now_us)
        case Split(set=name):
            return Plan(sets={"": catalogue.manifest(name).set}, created_us=now_us)
        case Files():
            return Plan(created_us=now_us)
