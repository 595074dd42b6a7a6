"""torch's compiler, loaded when a model compiles something, not when an optimizer is made.

torch.optim imports `torch._dynamo` to tell the compiler what it is not to compile. That import takes two seconds of
processor time and 150 MB, and without a compiled function there is nobody to tell.
"""

import functools
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch

NAME = "torch._dynamo"


def defer_compiler() -> None:
    """From now on, load torch's compiler at its first use. Does nothing where it is loaded already."""
    if NAME not in sys.modules:
        _put(_Deferred(NAME))


class _Deferred(ModuleType):
    """Stands for the package until somebody wants more of it than torch.optim does, submodules included."""

    def graph_break(self, *_: Any, **__: Any) -> None:
        """While nothing is compiled there is no graph to end here."""

    def disable(  # torch's signature
        self,
        function: Callable[..., Any],
        recursive: bool = True,  # noqa: FBT001, FBT002
        **how: Any,
    ) -> Callable[..., Any]:
        """The function as it is, and once the compiler is loaded the compiler's version of it."""

        @functools.cache
        def disabled() -> Callable[..., Any]:
            return _loaded().disable(function, recursive, **how)  # type: ignore[no-any-return]

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return (function if sys.modules.get(NAME) is self else disabled())(*args, **kwargs)

        return call

    def __getattr__(self, name: str) -> Any:
        return getattr(_loaded(), name)


def _loaded() -> Any:
    if isinstance(sys.modules.get(NAME), _Deferred):
        del sys.modules[NAME]
        _put(importlib.import_module(NAME))
    return sys.modules[NAME]


def _put(module: ModuleType) -> None:
    """Where `import torch._dynamo` finds it, and where what follows such an import looks for it."""
    sys.modules[NAME] = module
    setattr(torch, NAME.rpartition(".")[2], module)
