"""The digest of a pipeline's code changes with the code, and with nothing else."""

import subprocess
from pathlib import Path

from headrace.model.code import code_digest, commit_of


def folder(path: Path, model: str = "x = 1\n") -> Path:
    (path / "inner").mkdir(parents=True)
    (path / "model.py").write_text(model)
    (path / "pipeline.yaml").write_text("name: a\n")
    (path / "inner" / "more.py").write_text("y = 2\n")
    return path


def test_the_same_code_has_the_same_digest_wherever_it_stands(tmp_path: Path) -> None:
    one, other = folder(tmp_path / "one"), folder(tmp_path / "other")
    (other / "notes.txt").write_text("not code")
    (other / "__pycache__").mkdir()
    (other / "__pycache__" / "model.py").write_text("stale")
    (other / ".hidden").mkdir()
    (other / ".hidden" / "model.py").write_text("hidden")
    assert code_digest(one) == code_digest(other)


def test_a_changed_a_renamed_and_a_new_file_change_it(tmp_path: Path) -> None:
    found = {code_digest(folder(tmp_path / "one")), code_digest(folder(tmp_path / "two", model="x = 2\n"))}
    renamed = folder(tmp_path / "three")
    (renamed / "model.py").rename(renamed / "modul.py")
    new = folder(tmp_path / "four")
    (new / "new.py").write_text("")
    assert len({*found, code_digest(renamed), code_digest(new)}) == 4


def test_the_commit_says_whether_the_folder_was_changed(tmp_path: Path) -> None:
    path = folder(tmp_path / "one")
    assert commit_of(path) == ""
    git = ["git", "-C", str(path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *command], check=True)
    commit = commit_of(path)
    assert len(commit) == 40
    (path / "model.py").write_text("x = 3\n")
    assert commit_of(path) == f"{commit}+"
