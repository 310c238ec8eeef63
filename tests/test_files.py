"""Atomic writing: the old file or the new one, nothing in between, nothing left behind."""

import errno
import hashlib
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spinlock.errors import SpinlockError
from spinlock.files import (
    atomic_path,
    file_digest,
    file_sample,
    read_json,
    refuse_overwriting,
    require_suffix,
    sole_writer,
    write_text,
)


class DiskFull(OSError):
    def __init__(self):
        super().__init__(errno.ENOSPC, "No space left on device")


def write_half(path: Path, problem: BaseException) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text("half", encoding="utf-8")
        raise problem


@pytest.fixture
def old(tmp_path: Path) -> Path:
    path = tmp_path / "result.json"
    path.write_text("old", encoding="utf-8")
    return path


def test_a_new_file_appears_with_its_folders(tmp_path):
    path = tmp_path / "a" / "b" / "result.json"
    write_text(path, "näw ✓\n")
    assert path.read_bytes() == "näw ✓\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_a_reader_sees_the_old_file_until_the_block_ends(old):
    with atomic_path(old) as temporary:
        temporary.write_text("new", encoding="utf-8")
        assert old.read_text(encoding="utf-8") == "old"
        assert temporary.parent == old.parent, "a rename is atomic within one file system only"
    assert old.read_text(encoding="utf-8") == "new"


def test_a_file_is_on_disk_before_it_has_its_name_and_its_folder_after(old, monkeypatch):
    done, fsync, replace = [], os.fsync, Path.replace

    def flushed(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        fsync(descriptor)

    def renamed(path: Path, target: Path) -> None:
        done.append(target)
        replace(path, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", renamed)
    with atomic_path(old) as temporary:
        temporary.write_text("new", encoding="utf-8")
    assert done == [temporary.resolve(), old, old.parent.resolve()]


def test_a_reader_that_has_begun_reads_the_old_file_to_its_end(old):
    with old.open(encoding="utf-8") as reader:
        write_text(old, "new")
        assert reader.read() == "old"


def test_two_writers_do_not_share_a_temporary_file(old):
    with atomic_path(old) as first, atomic_path(old) as second:
        first.write_text("first", encoding="utf-8")
        second.write_text("second", encoding="utf-8")
    assert old.read_text(encoding="utf-8") == "first"
    assert list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize("problem", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_failure_keeps_the_old_file_and_passes_through(old, problem):
    with pytest.raises(problem):
        write_half(old, problem())
    assert old.read_text(encoding="utf-8") == "old"
    assert list(old.parent.iterdir()) == [old]


def test_a_full_disk_is_told_to_the_user_and_keeps_the_old_file(old):
    with pytest.raises(SpinlockError, match="No space left") as caught:
        write_half(old, DiskFull())
    assert str(old) in str(caught.value)
    assert old.read_text(encoding="utf-8") == "old"
    assert list(old.parent.iterdir()) == [old]


def test_a_block_that_writes_nothing_is_an_error(old):
    with pytest.raises(SpinlockError), atomic_path(old):
        pass
    assert old.read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize("place", ["result.json/x.txt", "result.json/deeper/x.txt"])
def test_a_file_where_a_folder_is_needed_is_told_to_the_user(old, place):
    with pytest.raises(SpinlockError, match="cannot write") as caught:
        write_text(old.parent / place, "new")
    assert place in str(caught.value)
    assert old.read_text(encoding="utf-8") == "old"


def test_a_folder_is_never_replaced_by_a_file(tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(SpinlockError, match="cannot write"):
        write_text(folder, "new")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


@settings(deadline=None, max_examples=30)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_text_comes_back_as_it_was_written(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("text") / "x.txt"
    write_text(path, text)
    assert path.read_bytes().decode("utf-8") == text


def test_digest_is_the_sha256_of_the_bytes(tmp_path):
    path = tmp_path / "x.bin"
    path.write_bytes(bytes(range(256)) * 5000)
    assert file_digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()
    path.write_bytes(path.read_bytes()[:-1])
    assert file_digest(path) == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537, 300_000, 1_048_576])
def test_every_byte_of_a_small_file_counts_for_its_sample(tmp_path, size):
    path = tmp_path / "x.bin"
    path.write_bytes(bytes(size))
    before = file_sample(path)
    assert before.startswith(f"{size} bytes, ")
    for at in {0, size // 3, 65_536, size - 1} & set(range(size)):
        path.write_bytes(bytes(at) + b"x" + bytes(size - at - 1))
        assert file_sample(path) != before
    path.write_bytes(bytes(size))
    assert file_sample(path) == before


def test_the_sample_of_a_large_file_has_its_size_and_both_ends(tmp_path):
    path = tmp_path / "x.bin"
    seen = set()
    for size, at in ((50_000_000, 0), (50_000_000, 49_999_999), (50_000_001, 0)):
        with path.open("wb") as file:
            file.truncate(size)
            file.seek(at)
            file.write(b"x")
        seen.add(file_sample(path))
    assert len(seen) == 3


@pytest.mark.parametrize("name", ["absent", ".", "x" * 5000, "pipe"])
def test_what_is_no_file_has_no_sample_and_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    assert file_sample(tmp_path / name) == ""


def test_a_link_stays_one_and_leads_to_what_was_written(tmp_path):
    (tmp_path / "link").symlink_to("folder/new")
    write_text(tmp_path / "link", "first")
    write_text(tmp_path / "link", "second")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder/new").read_text() == "second"


def test_what_is_no_regular_file_is_not_replaced_by_one(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    for name in ("pipe", "link"):
        with pytest.raises(SpinlockError, match="no regular file"):
            write_text(tmp_path / name, "text")
    assert (tmp_path / "pipe").is_fifo()
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"], ids=["bare", "with its order of bytes"])
def test_json_is_read_as_editors_write_it(tmp_path, mark):
    (tmp_path / "x.json").write_bytes(mark + b'{"a": 1}')
    assert read_json(tmp_path / "x.json") == {"a": 1}


@pytest.mark.parametrize("name", ["data", "folder/../data", "link", "hard_link"])
def test_what_is_read_is_not_written_by_any_name(tmp_path, name):
    data = tmp_path / "data"
    data.write_text("rows")
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(data)
    (tmp_path / "hard_link").hardlink_to(data)
    refuse_overwriting([tmp_path / "new"], [data])
    with pytest.raises(SpinlockError, match="is read here too"):
        refuse_overwriting([tmp_path / "new", tmp_path / name], [data])


def test_a_name_that_says_something_else_than_what_is_written_is_refused():
    require_suffix(Path("a/t.h5"), ".h5", ".hdf5")
    for name, problem in [
        ("t", "the name has no suffix, which says what is written"),
        ("t.parquet", ".parquet is no suffix of what is written"),
        ("t.h5.csv", ".csv is no suffix of what is written"),
    ]:
        with pytest.raises(SpinlockError, match=problem) as caught:
            require_suffix(Path(name), ".h5", ".hdf5")
        assert f"{Path(name).stem}.h5 or " in caught.value.remedy


def test_two_outputs_are_two_files(tmp_path):
    with pytest.raises(SpinlockError, match="is named twice"):
        refuse_overwriting([tmp_path / "new", tmp_path / "none" / ".." / "new"], [])


def test_a_folder_has_one_writer_at_a_time_and_no_file_of_it(tmp_path):
    folder = tmp_path / "new/folder"
    with sole_writer(folder), sole_writer(tmp_path):
        with pytest.raises(SpinlockError, match="another training") as caught, sole_writer(folder):
            pass
        assert caught.value.where == folder
        assert list(folder.iterdir()) == []
    with sole_writer(folder):
        pass


def test_where_folders_cannot_be_locked_there_is_no_lock(tmp_path, monkeypatch):
    def unable(*_):
        raise OSError(errno.EBADF, "Bad file descriptor")

    monkeypatch.setattr("fcntl.flock", unable)
    with sole_writer(tmp_path), sole_writer(tmp_path):
        pass
