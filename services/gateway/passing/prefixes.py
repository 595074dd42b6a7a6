"""Which role answers which paths: the table by which the gateway passes requests on."""

from typing import NamedTuple


class Prefix(NamedTuple):
    """Everything at `path` and below it is answered by `role`."""

    path: str
    role: str


PREFIXES = (
    Prefix("/v1/training", "train"),
    Prefix("/v1/batch", "batch"),
    Prefix("/v1/datasets", "datasets"),
    Prefix("/v1/imports", "datasets"),
    Prefix("/v1/uploads", "datasets"),
    Prefix("/v1/labelling", "labelling"),
    Prefix("/v1/drift", "drift"),
    Prefix("/v1/alerts", "drift"),
    Prefix("/v1/silences", "drift"),
    Prefix("/v1/metrics", "archive"),
    Prefix("/v1/query", "archive"),
    Prefix("/v1/tables", "archive"),
    Prefix("/v1/rules", "rules"),
)


def starts(role: str) -> str:
    """The command that starts a role, for people."""
    return f"headrace run {role} --pipeline FOLDER"
