"""A job by path reads below its folder, and nowhere else."""

from pathlib import Path

import pytest

from headrace.jobs.errors import BadRequestError, ForbiddenError, TooLargeError
from headrace.jobs.files import allowed_file, allowed_files


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    home = tmp_path / "in"
    (home / "days").mkdir(parents=True)
    (home / "days" / "1.csv").write_text("a\n1\n")
    (home / "link.csv").symlink_to(tmp_path / "secret.csv")
    (home / "up").symlink_to(tmp_path)
    return home


def test_names_folders_and_patterns_below_the_folder(root: Path) -> None:
    file = str(root / "days" / "1.csv")
    assert allowed_files(root, ["days/1.csv", "days", "days/*.csv", "**/1.csv", file], 1000) == [file]


@pytest.mark.parametrize(
    "name",
    ["../secret.csv", "days/../../secret.csv", "/etc/passwd", "link.csv", "up/secret.csv", "up", "up/*.csv", "*.csv",
     "..", "a\0b", "/", "up/in/../secret.csv"],
)  # fmt: skip
def test_nothing_outside_of_it(root: Path, name: str) -> None:
    with pytest.raises(ForbiddenError):
        allowed_files(root, [name], 1000)
    with pytest.raises(ForbiddenError if name != "*.csv" else BadRequestError):  # no pattern: a name
        allowed_file(root, name)


def test_a_file_by_its_very_name(root: Path) -> None:
    assert allowed_file(root, "days/1.csv") == str(root / "days" / "1.csv")
    for name in ("days", "days/*.csv", "days/2.csv", "n" * 5000):
        with pytest.raises(BadRequestError):
            allowed_file(root, name)


def test_no_folder_no_paths(root: Path) -> None:
    with pytest.raises(ForbiddenError, match="--input-dir"):
        allowed_files(None, ["days/1.csv"], 1000)


def test_what_is_not_there_and_what_is_too_much(root: Path) -> None:
    with pytest.raises(BadRequestError, match="no such file"):
        allowed_files(root, ["days/2.csv"], 1000)
    with pytest.raises(TooLargeError):
        allowed_files(root, ["days/1.csv"], 1)
