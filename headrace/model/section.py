"""The base of every section of pipeline.yaml."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A section: its fields are all that it may hold, and nothing changes them."""

    model_config = ConfigDict(extra="forbid", frozen=True)
