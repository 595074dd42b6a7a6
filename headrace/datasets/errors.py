"""Errors about data sets.

ConfigError                  2
├── UnknownSet               2  there is no such set or version
├── SetInUse                 2  a version may not be removed: a served version's lineage needs it
└── BadInput                 2  what was to be imported cannot be read right: the message says file, row and column
DataError                    5
├── DamagedSet               5  a file or manifest is missing, or is not what its digest says
└── TooManyBadRows           5  more rows do not fit than are allowed
"""

from headrace.runtime.errors import ConfigError, DataError


class UnknownSet(ConfigError):  # noqa: N818 - it is named for what it says
    """There is no such set, or no such version of it."""


class SetInUse(ConfigError):  # noqa: N818
    """The version may not be removed."""


class BadInput(ConfigError):  # noqa: N818
    """What was to be imported cannot be read right."""


class DamagedSet(DataError):  # noqa: N818
    """A file or a manifest is missing, or is not what its digest says."""


class TooManyBadRows(DataError):  # noqa: N818
    """More rows do not fit than are allowed."""
