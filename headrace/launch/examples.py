"""The examples that come with Headrace."""

from pathlib import Path

import headrace
from headrace.model.spec_file import SPEC_FILE
from headrace.runtime.errors import ConfigError


def find_example(name: str) -> Path:
    """The folder of an example, in the source tree or in the installed package; or any pipeline's folder.

    Raises:
        ConfigError: there is none.
    """
    package = Path(headrace.__file__).parent
    for folder in (package.parent / "examples" / name, package / "examples" / name, Path(name)):
        if (folder / SPEC_FILE).is_file():
            return folder
    known = {p.parent.name for root in (package.parent, package) for p in (root / "examples").glob(f"*/{SPEC_FILE}")}
    raise ConfigError(f"no example or pipeline folder {name!r}", hint=f"examples: {', '.join(sorted(known)) or 'none'}")
