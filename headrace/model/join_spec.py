"""The section `join` of pipeline.yaml: how labels are joined to events, and which examples come of it."""

from typing import Any, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError

from headrace.model.section import Section


class MissingSpec(Section):
    """What becomes of an event whose window closes without a label: nothing, or an example with a default label."""

    default: dict[str, Any] | None = Field(
        None, description="the default label's fields, without the key; None: the event is only counted"
    )


class SamplingSpec(Section):
    """Keeping only a part of the examples whose label has certain values; each kept one tells its probability."""

    when: dict[str, Any] = Field(min_length=1, description="fields of the label and their values, all of which it has")
    keep: float = Field(gt=0, le=1, description="probability of an example to be kept, by a hash of its key")


class LabelsSpec(Section):
    """What becomes of labels that are late, contradict each other, never come or are too many of one kind."""

    late: Literal["drop", "dead_letter"] = Field(
        "drop", description="a label that finds no event within the window is only counted, or becomes a dead letter"
    )
    conflicting: Literal["first", "corrected"] = Field(
        "first",
        description="of labels with different values for one event the first counts, or each makes a further example",
    )
    corrected_weight: float = Field(1.0, gt=0, description="of examples that such further labels make, in training")
    missing: MissingSpec = Field(MissingSpec(), description="drop, or `default` with a label's fields")
    sampling: tuple[SamplingSpec, ...] = Field((), description="the first whose `when` fits decides")

    @field_validator("missing", mode="before")
    @classmethod
    def _drop(cls, missing: Any) -> Any:
        if isinstance(missing, str):
            if missing != "drop":
                raise PydanticCustomError("missing", "drop, or default with a label's fields: {default: {clicked: no}}")
            return MissingSpec()
        return missing


class JoinSpec(Section):
    """Joining labels to events."""

    window_s: float = Field(
        3600.0, gt=0, description="seconds of record time that an event waits for its label, and a label for its event"
    )
    max_skew_s: float | None = Field(
        None,
        gt=0,
        description="a timestamp that is further from its log's recent time is out of bounds; by default the window",
    )
    out_of_bounds: Literal["wait", "dead_letter"] = Field(
        "wait",
        description="a record out of bounds is joined whenever its other half comes while it waits; where that does "
        "not come, it is only counted, or becomes a dead letter",
    )
    idle_s: float = Field(
        1.0, ge=0, description="seconds without a record after which a log no longer holds back the other one's records"
    )
    labels: LabelsSpec = LabelsSpec()
