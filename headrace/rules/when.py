"""The schema of `when:` what begins a run."""

from typing import Annotated, ClassVar, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, field_validator
from pydantic_core import PydanticCustomError

from headrace.model.section import Section
from headrace.rules.section import OneOf

Severity = Literal["info", "warning", "critical"]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise PydanticCustomError("zone", f"no time zone {name!r}, e.g. UTC or Europe/Berlin") from None
    return name


class AlertWhen(Section):
    """An alert starts: of the monitor, of drift, or of anybody who writes headrace.alerts."""

    name: str = Field("*", description="the alert's name; * stands for anything")
    severity: Severity = Field("warning", description="at least so severe")
    model: str = Field("*", description="the model that it is about, as the fleet knows it; * stands for anything")


class ErrorWhen(Section):
    """The moving error of predictions, as the monitor has it, rises above a limit."""

    above: float = Field(description="the limit, in the error's unit")
    for_s: float = Field(0.0, ge=0, description="seconds for which it has to be above without a break")
    model: str = Field("", description='of one of several models, as the fleet knows it; "": of all that was served')


class DatasetWhen(Section):
    """A new version of a data set is there."""

    name: str = Field(min_length=1, description="the set's name; * stands for anything")


class ScheduleWhen(Section):
    """A time comes."""

    cron: str = Field(description="minute, hour, day of month, month, day of week")
    zone: Annotated[str, AfterValidator(_zone)] = Field("UTC", description="the time zone that `cron` is in")

    @field_validator("cron")
    @classmethod
    def _cron(cls, cron: str) -> str:
        from datetime import UTC, datetime

        from cronsim import CronSim, CronSimError

        try:
            next(CronSim(cron, datetime(2026, 1, 1, tzinfo=UTC)))
        except CronSimError as error:
            raise PydanticCustomError("cron", f"{cron!r} is no schedule: {error}; e.g. 0 3 * * 1-5") from None
        except StopIteration:
            raise PydanticCustomError("cron", f"{cron!r} never comes") from None
        return cron


class WhenSpec(OneOf):
    """One condition."""

    KINDS: ClassVar[tuple[str, ...]] = ("alert", "error", "dataset", "schedule", "labels", "call")

    alert: AlertWhen | None = Field(None, description="an alert starts")
    error: ErrorWhen | None = Field(None, description="the error rises above a limit")
    dataset: DatasetWhen | None = Field(None, description="a new version of a data set")
    schedule: ScheduleWhen | None = Field(None, description="a time comes")
    labels: int | None = Field(None, ge=1, description="so many new labels, counted by offsets")
    call: Literal[True] | None = Field(None, description="POST /v1/rules/<rule>/trigger")
