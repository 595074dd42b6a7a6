"""The schema of pipeline.yaml."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

NAME = r"^[a-z][a-z0-9_-]{0,48}$"
REFERENCE = r"^[A-Za-z_][A-Za-z0-9_]*\.py:[A-Za-z_][A-Za-z0-9_]*$"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TopicsSpec(_Section):
    """The pipeline's topics."""

    partitions: int = Field(4, ge=1, le=1024, description="of every topic of this pipeline")


class StreamSpec(_Section):
    """Predicting on the stream."""

    guarantee: Literal["exactly_once", "at_least_once"] = "exactly_once"
    max_batch: int = Field(4096, ge=1, description="events in one forward pass at most")


class JoinSpec(_Section):
    """Joining labels to events."""

    window_s: float = Field(
        3600.0, gt=0, description="wall-clock seconds that an event waits for its label, and a label for its event"
    )


class TrainingSpec(_Section):
    """Learning online."""

    batch_size: int = Field(256, ge=1, description="examples in one optimizer step")
    max_wait_s: float = Field(0.5, gt=0, description="seconds after which a partial batch is trained on")
    learning_rate: float = Field(1e-3, gt=0)
    checkpoint_examples: int = Field(5000, ge=1, description="publish a checkpoint after this many examples ...")
    checkpoint_s: float = Field(2.0, gt=0, description="... or after this many seconds with at least one, whichever is first")
    keep: int = Field(5, ge=2, description="checkpoints kept on shared storage")
    seed: int = Field(0, ge=0, description="of the first weights and of all random state")


class MonitorSpec(_Section):
    """Watching accuracy and drift."""

    window: int = Field(2000, ge=10, description="labelled predictions in the moving error")
    sample: float = Field(1.0, gt=0, le=1, description="share of keys that the monitor follows")
    worse_beside: float = Field(
        2.0, gt=1, description="a version is at fault whose error is so many times that of others at the same time ..."
    )
    worse_before: float = Field(4.0, gt=1, description="... or, where it serves alone, that of the versions before it")


class DemoSpec(_Section):
    """How `headrace demo` replays the source."""

    speed: float | None = Field(None, gt=0, description="event seconds per wall-clock second")
    rate: float | None = Field(None, gt=0, description="events per second, if not by event time")
    options: dict[str, Any] = Field(default_factory=dict, description="options of the source")


class PipelineSpec(_Section):
    """All of pipeline.yaml."""

    name: str = Field(pattern=NAME, description="prefix of the topics, and the model's name")
    model: str = Field(pattern=REFERENCE, description="file.py:Class of the headrace.Model")
    source: str | None = Field(None, pattern=REFERENCE, description="file.py:Class of the headrace.Source")
    description: str = ""
    topics: TopicsSpec = TopicsSpec()
    stream: StreamSpec = StreamSpec()
    join: JoinSpec = JoinSpec()
    training: TrainingSpec = TrainingSpec()
    monitor: MonitorSpec = MonitorSpec()
    demo: DemoSpec = DemoSpec()
