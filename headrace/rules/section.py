"""Sections of which exactly one part is given."""

from typing import ClassVar, Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from headrace.model.section import Section


class OneOf(Section):
    """A section that says what it is by the one of its `KINDS` that it holds."""

    KINDS: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = [kind for kind in self.KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            found = " and ".join(given) or "none of them"
            raise PydanticCustomError("one_of", f"expected exactly one of {', '.join(self.KINDS)}; there is {found}")
        return self

    @property
    def kind(self) -> str:
        """Which of them it holds."""
        return next(kind for kind in self.KINDS if getattr(self, kind) is not None)
