"""What kind of file an upload is."""

import pytest

from headrace.jobs.errors import BadRequestError
from services.batch.submission import input_name


@pytest.mark.parametrize("kind", ["", "xlsx", "../x.csv", "csv/../../x.csv", ".csv", "a/b.csv", "csv.exe"])
def test_an_upload_that_is_of_no_kind(kind: str) -> None:
    with pytest.raises(BadRequestError):
        input_name(kind, "application/octet-stream")


def test_an_upload_is_what_its_type_says() -> None:
    assert input_name("", "text/csv; charset=utf-8") == "upload.csv"
    assert input_name("jsonl.gz", "application/octet-stream") == "upload.jsonl.gz"
