"""A folder is held by one command at a time, and by nobody once that has ended."""

import codecs
import errno
import json
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from vlm3 import disk
from vlm3.disk import held
from vlm3.sources.reading import labels

FORK, SPAWN = multiprocessing.get_context("fork"), multiprocessing.get_context("spawn")


def attempt(folder: Path, found: list | None = None) -> str:
    """What a second command is told."""
    try:
        with held(folder):
            told = "held"
    except BlockingIOError as error:
        told = str(error)
    if found is not None:
        found.append(told)
    return told


def holding(folder: Path, ready, child: bool = False) -> None:
    """Holds a folder until killed; with a forked child that lives on."""
    with held(folder):
        if child:
            FORK.Process(target=time.sleep, args=(5,)).start()
        ready.set()
        time.sleep(60)


def killed(process) -> None:
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def names_holder(told: str, folder: Path) -> bool:
    return (
        told.startswith(f"{folder} is in use by process {os.getpid()} on ")
        and "choose another folder" in told
    )


def test_a_second_command_is_told_who_holds_the_folder_and_the_first_keeps_it(tmp_path):
    with held(tmp_path / "new" / "run"):
        for _ in range(2):
            assert names_holder(told := attempt(tmp_path / "new" / "run"), tmp_path / "new" / "run")
            assert "\n" not in told
    assert attempt(tmp_path / "new" / "run") == "held"


def test_another_thread_is_another_command(tmp_path):
    found = []
    with held(tmp_path):
        (thread := threading.Thread(target=attempt, args=(tmp_path, found))).start()
        thread.join()
    assert names_holder(found[0], tmp_path)


@pytest.mark.parametrize("processes", [FORK, SPAWN], ids=["fork", "spawn"])
def test_another_process_is_refused_until_this_one_lets_go(tmp_path, processes):
    with processes.Pool(1) as pool:
        with held(tmp_path):
            assert names_holder(pool.apply(attempt, (tmp_path,)), tmp_path)
        assert pool.apply(attempt, (tmp_path,)) == "held"


@pytest.mark.parametrize("other", ["link", "sub/..", "relative"])
def test_a_folder_of_two_names_is_one_folder(tmp_path, monkeypatch, other):
    (tmp_path / "run" / "sub").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    name = {
        "link": tmp_path / "link",
        "sub/..": tmp_path / "run" / "sub" / "..",
        "relative": Path("run"),
    }[other]
    with held(tmp_path / "run"):
        assert "in use by process" in attempt(name)


def test_other_folders_are_free_also_inside_a_held_one(tmp_path):
    with held(tmp_path), held(tmp_path / "inside"):
        assert attempt(tmp_path / "other") == "held"


@pytest.mark.parametrize(
    "end", [ValueError("a loss"), KeyboardInterrupt(), SystemExit(143), MemoryError()]
)
def test_whatever_ends_the_work_lets_go_also_while_the_error_is_kept(tmp_path, end):
    with pytest.raises(type(end)) as kept, held(tmp_path):
        raise end
    assert attempt(tmp_path) == "held"
    assert kept.value is end


@pytest.mark.parametrize("child", [False, True], ids=["alone", "with a child that lives on"])
def test_what_was_killed_holds_nothing_and_what_it_left_does_not_block(tmp_path, child):
    ready = FORK.Event()
    process = FORK.Process(target=holding, args=(tmp_path, ready, child))
    process.start()
    ready.wait()
    assert f"process {process.pid} " in attempt(tmp_path)
    killed(process)
    assert (tmp_path / ".lock.json").exists()
    assert attempt(tmp_path) == "held"


@pytest.mark.parametrize("left", ["", "{", "[]", '{"pid": 1}', None])
def test_a_holder_that_has_not_said_who_it_is_is_another_command(tmp_path, left):
    with held(tmp_path):
        (tmp_path / ".lock.json").unlink()
        if left is not None:
            (tmp_path / ".lock.json").write_text(left)
        assert "is in use by another command: wait" in attempt(tmp_path)


def failing(monkeypatch, error: Exception) -> None:
    def acquire(*_, **__):
        raise error

    monkeypatch.setattr(disk.FileLock, "acquire", acquire)


@pytest.mark.parametrize("code", ["ENOSYS", "ENOTSUP", "EOPNOTSUPP", "ENOLCK", None])
def test_a_file_system_without_locks_is_warned_of_and_used(tmp_path, monkeypatch, code):
    reason = "no flock here"
    failing(
        monkeypatch, OSError(getattr(errno, code), reason) if code else NotImplementedError(reason)
    )
    with pytest.warns(
        UserWarning, match="has no locks.*no flock here.*nothing stops a second command"
    ):
        assert attempt(tmp_path) == "held"


@pytest.mark.parametrize("code", ["EROFS", "ENOSPC", "EACCES", "EIO", "EDQUOT"])
def test_a_folder_that_cannot_be_written_is_an_error_of_one_line(tmp_path, monkeypatch, code):
    failing(
        monkeypatch,
        OSError(getattr(errno, code), os.strerror(getattr(errno, code)), str(tmp_path / ".lock")),
    )
    with pytest.raises(OSError, match=r"\.lock") as told:
        attempt(tmp_path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left"), PermissionError(errno.EACCES, "denied")]
)
def test_a_file_that_cannot_be_written_is_named_and_stays_as_it_was(tmp_path, monkeypatch, error):
    disk.write(tmp_path / "config.json", "before")
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(error))
    with pytest.raises(OSError, match=f"config.json could not be written: .*{error.strerror}"):
        disk.write(tmp_path / "config.json", "after")
    assert (tmp_path / "config.json").read_text() == "before"


WRITTEN = [
    "",
    "one line",
    "two\nlines\n",
    "Stra\u00dfe, 3 \u00b5m, \u672c\n",
    "\ufeff",
    "a\ufeff\n",
]


@pytest.mark.parametrize("written", WRITTEN, ids=ascii)
@pytest.mark.parametrize("ends", ["\n", "\r\n"], ids=ascii)
@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8], ids=["plain", "mark"])
def test_text_is_read_the_same_as_whatever_editor_saved_it(tmp_path, written, ends, mark):
    if written.startswith("\ufeff") and not mark:
        written = ""  # this is the mark
    (tmp_path / "file").write_bytes(mark + written.replace("\n", ends).encode())
    assert disk.text(tmp_path / "file") == written
    assert labels.lines(tmp_path / "file") == (
        [] if not written else written.removesuffix("\n").split("\n")
    )


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "latin-1", "cp1252", "shift-jis"])
def test_text_in_another_encoding_is_named_with_the_way_out(tmp_path, encoding):
    word = "\u672c" if encoding == "shift-jis" else "Stra\u00dfe"
    (tmp_path / "file").write_bytes(word.encode(encoding))
    with pytest.raises(ValueError, match="file: not a text file in UTF-8 .*: save it as UTF-8$"):
        disk.text(tmp_path / "file")


def test_a_file_is_not_a_folder_to_hold(tmp_path):
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(OSError, match="file"):
            attempt(place)


def test_a_disk_that_fills_up_at_the_first_file_leaves_the_folder_free(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(
            disk, "write", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left"))
        )
        with pytest.raises(OSError, match="No space left"):
            attempt(tmp_path)
    assert attempt(tmp_path) == "held"


def test_the_holder_is_told_in_json_only_while_it_holds(tmp_path):
    with held(tmp_path):
        told = json.loads((tmp_path / ".lock.json").read_text())
        assert told.keys() == {"pid", "host", "since", "command"}
        assert told["pid"] == os.getpid()
    assert not (tmp_path / ".lock.json").exists()


def test_nested_records_become_flat():
    assert disk.flat({"step": 3, "losses": {"depth": 1.5, "pose": {"x": 2}}}) == {
        "step": 3,
        "losses/depth": 1.5,
        "losses/pose/x": 2,
    }
