"""What an import is asked to make, and of what."""

from pathlib import Path
from typing import Any, Literal

import msgspec

from headrace.datasets.errors import BadInput
from headrace.datasets.form import Form
from headrace.datasets.manifest import Holds
from headrace.datasets.names import check_name

By = Literal["time", "key"]


class Files(msgspec.Struct, frozen=True, tag="files", forbid_unknown_fields=True):
    """Files, folders and patterns; `names` are what files are called to people, by path, where that is not the path."""

    paths: list[str]
    names: dict[str, str] = {}


class Topic(msgspec.Struct, frozen=True, tag="topic", forbid_unknown_fields=True):
    """A range of a topic: `earliest`, `latest`, a time (ISO 8601), or partition:offset,...; `end` is not included."""

    topic: str
    start: str = "earliest"
    end: str = "latest"


class Query(msgspec.Struct, frozen=True, tag="query", forbid_unknown_fields=True):
    """One SELECT; its tables are sets by their names, or what `sets` says by table."""

    query: str
    sets: dict[str, str] = {}


class Split(msgspec.Struct, frozen=True, tag="split", forbid_unknown_fields=True):
    """A set cut into parts, each a set of its own: `<name>-<part>`.

    Attributes:
        set: `name@version`.
        by: time: parts follow each other in time, and rows of an earlier part whose label was known only when a later
            one had begun are left out. key: rows of one key are in one part, by the key's hash.
        shares: of the rows (time) or the keys (key), by part, in the order of time.
        column: the time, or the key; "" is the set's own.
        label_time: the column that says when a row's label was known, with `time`; "" is the set's own, if it has one.
        group: with `time`: a column whose values are not to be in two parts; the later rows of such are left out.
        seed: of the hash; another one makes other parts.
    """

    set: str
    by: By
    shares: dict[str, float]
    column: str = ""
    label_time: str = ""
    group: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.shares) < 2:
            raise BadInput("a split has two parts or more", hint="train=0.8,test=0.2")
        for part, share in self.shares.items():
            check_name(part)
            if not 0 < share < 1:
                raise BadInput(f"{part}={share:g}: expected a share between 0 and 1")
        if abs(sum(self.shares.values()) - 1) > 1e-6:
            raise BadInput(f"the shares add up to {sum(self.shares.values()):g}, expected 1")


From = Files | Topic | Query | Split


class ImportJob(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked for. Paths are absolute.

    Attributes:
        id: of the import; the same id makes one version only.
        name: of the set.
        folder: the import's own, for the time that it takes.
        source: what the set is made from.
        form: how files are read.
        holds: check each row against the pipeline's events, labels or both; "" checks nothing.
        pipeline: its folder, where `holds` asks for one.
        key, time, label_time: columns, as in the manifest; "" where the source does not say it either.
        metadata: licence, description, ...
        max_bad_rows: rows that do not fit and are left out at most; with more, no version is made.
        memory: that a query takes at most, as DuckDB writes it.
    """

    id: str
    name: str
    folder: str
    source: From
    form: Form = msgspec.field(default_factory=Form)
    holds: Holds = ""
    pipeline: str = ""
    key: str = ""
    time: str = ""
    label_time: str = ""
    metadata: dict[str, str] = {}
    max_bad_rows: int = 0
    memory: str = "1GB"

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.max_bad_rows < 0:
            raise BadInput(f"max_bad_rows: {self.max_bad_rows}, expected 0 or more")
        if self.holds and not self.pipeline:
            raise BadInput(f"to check rows as {self.holds}, a pipeline is needed", hint="--pipeline FOLDER")
        if sum(len(n) + len(v) for n, v in self.metadata.items()) > _MOST_METADATA:
            raise BadInput(f"metadata: more than {_MOST_METADATA} characters")

    @property
    def path(self) -> Path:
        """Its folder."""
        return Path(self.folder)

    @property
    def rejected(self) -> Path:
        """All rows that do not fit, a JSON object a line; there only if there are some."""
        return self.path / "rejected.jsonl"


_MOST_METADATA = 100_000


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """What a finished import made: `name@version` of its sets, with their rows, and rows that were left out."""

    sets: list[str]
    rows: dict[str, int]
    bad_rows: int
    left_out: int = 0
    seconds: float = 0.0

    def shown(self) -> dict[str, Any]:
        """For programs."""
        made: dict[str, Any] = msgspec.to_builtins(self)
        return made
