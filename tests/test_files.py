"""files.py: which messages a path stands for, and under which names."""

from __future__ import annotations

import io
import os
import socket
from pathlib import Path

import pytest

from bounceparse import files
from bounceparse.errors import InputError
from bounceparse.files import read_files

MAIL = b"From: a@shop.example\nSubject: one\n\nbody\n"


def read(*paths: object, most: int = 1_000_000) -> list[tuple[str, bytes]]:
    problems: list[InputError] = []
    found = [tuple(source) for source in read_files([str(path) for path in paths], problems.append, most=most)]
    assert problems == []
    return found  # type: ignore[return-value]


def test_a_file_is_one_message_whatever_its_name(tmp_path: Path) -> None:
    """Name and content of a plain file pass unchanged, an empty one too."""
    (tmp_path / "report.bin").write_bytes(b"\x00\xff no header\r\n")
    (tmp_path / "empty").write_bytes(b"")
    assert read(tmp_path / "report.bin", tmp_path / "empty") == [
        (f"{tmp_path}/report.bin", b"\x00\xff no header\r\n"),
        (f"{tmp_path}/empty", b""),
    ]


def test_a_folder_is_read_recursively_in_order_of_path(tmp_path: Path) -> None:
    """Hidden files and any suffix count; the order is that of the paths' parts."""
    for name in ("b/2", "b/1.eml", "a.txt", "b.z/0", ".hidden", "c/d/e/deep"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(MAIL)
    names = [source.removeprefix(f"{tmp_path}/") for source, _ in read(tmp_path)]
    assert names == [".hidden", "a.txt", "b/1.eml", "b/2", "b.z/0", "c/d/e/deep"]


def test_links_and_special_files_in_a_folder_are_left_out(tmp_path: Path) -> None:
    """A link to itself does not loop, a link to a file is not a second copy, a socket and a FIFO do not block."""
    inside = tmp_path / "in"
    inside.mkdir()
    (inside / "mail").write_bytes(MAIL)
    (inside / "copy").symlink_to("mail")
    (inside / "loop").symlink_to(inside)
    os.mkfifo(inside / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(inside / "socket"))
        assert read(inside) == [(f"{inside}/mail", MAIL)]


def test_a_link_that_is_named_is_followed(tmp_path: Path) -> None:
    """Who names a link means what it points to."""
    (tmp_path / "mails").mkdir()
    (tmp_path / "mails" / "1").write_bytes(MAIL)
    (tmp_path / "link").symlink_to("mails")
    assert read(tmp_path / "link") == [(f"{tmp_path}/link/1", MAIL)]


def test_of_a_maildir_only_the_messages_are_read(tmp_path: Path) -> None:
    """Neither tmp nor the server's own files are messages; Maildirs inside are read too."""
    for name in ("cur/1:2,S", "new/2", "tmp/3", "dovecot-uidlist", ".Junk/cur/4:2,", ".Junk/new/5", "sieve/6"):
        path = tmp_path / "box" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(MAIL)
    (tmp_path / "box/.Junk/tmp").mkdir()
    names = [source.removeprefix(f"{tmp_path}/box/") for source, _ in read(tmp_path)]
    assert names == [".Junk/cur/4:2,", ".Junk/new/5", "cur/1:2,S", "new/2"]


def mbox(*bodies: bytes, line: bytes = b"From MAILER-DAEMON Fri Jan  2 10:00:00 2026") -> bytes:
    return b"".join(line + b"\nSubject: x\n\n" + body + b"\n\n" for body in bodies)


def test_an_mbox_is_numbered_from_one(tmp_path: Path) -> None:
    """Each From line with a sender and a date begins a message; neither it nor the separating line is part of it."""
    (tmp_path / "box").write_bytes(mbox(b"one", b"two", b"three"))
    assert read(tmp_path / "box") == [
        (f"{tmp_path}/box#{n}", b"Subject: x\n\n" + body + b"\n")
        for n, body in enumerate([b"one", b"two", b"three"], 1)
    ]


def test_an_mbox_of_one_message_has_the_path_as_its_source(tmp_path: Path) -> None:
    """A saved mail with a From line on top is called what its file is called."""
    (tmp_path / "mail").write_bytes(mbox(b"one"))
    assert read(tmp_path / "mail") == [(f"{tmp_path}/mail", b"Subject: x\n\none\n")]


@pytest.mark.parametrize(
    "line",
    [
        b"From jan@example.pl Fri Jan  2 10:00:00 2026",
        b"From  Fri Jan  2 10:00:00 2026",
        b"From - Fri Jan 02 10:00:00 2026",
        b"From MAILER-DAEMON Fri Jan  2 10:00 2026",
        b"From jan@example.pl Fri Jan  2 10:00:00 CET 2026",
        b"From jan@example.pl Fri Jan  2 10:00:00 2026 +0100",
        b"From jan@example.pl Fri, 2 Jan 2026 10:00:00 +0100",
        b'From "jan kowalski"@example.pl Fri Jan  2 10:00:00 2026 remote from mx',
        b"From jan@example.pl Fri Jan  2 10:00:00 2026\r",
    ],
)
def test_lines_that_begin_a_message(tmp_path: Path, line: bytes) -> None:
    """The spellings of the From line that mail programs write."""
    (tmp_path / "box").write_bytes(mbox(b"one", b"two", line=line))
    assert len(read(tmp_path / "box")) == 2


@pytest.mark.parametrize(
    "line",
    [
        b"From the desk of Jan Kowalski",
        b"From Monday on we deliver at 10:00",
        b"From Fri Jan to Mon 2026",
        b" From jan@example.pl Fri Jan  2 10:00:00 2026",
        b"From: jan@example.pl Fri Jan  2 10:00:00 2026",
        b"From " + b"x" * 2000 + b" Fri Jan  2 10:00:00 2026",
    ],
)
def test_lines_that_begin_no_message(tmp_path: Path, line: bytes) -> None:
    """A sentence that begins with From belongs to its message."""
    (tmp_path / "box").write_bytes(mbox(b"before\n" + line + b"\nafter"))
    ((source, raw),) = read(tmp_path / "box")
    assert source == f"{tmp_path}/box"
    assert line in raw


def test_a_file_that_does_not_begin_with_from_is_never_split(tmp_path: Path) -> None:
    """A returned mbox line inside a bounce does not cut the bounce in two."""
    raw = b"Subject: x\n\n" + mbox(b"inside")
    (tmp_path / "mail").write_bytes(raw)
    assert read(tmp_path / "mail") == [(f"{tmp_path}/mail", raw)]


def test_mbox_quoting_is_undone(tmp_path: Path) -> None:
    """One > goes from each quoted From line, so that the message is what it was before it was put into the mbox."""
    (tmp_path / "box").write_bytes(mbox(b">From here\n>>From there\n> From far\na >From b"))
    ((_, raw),) = read(tmp_path / "box")
    assert raw == b"Subject: x\n\nFrom here\n>From there\n> From far\na >From b\n"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64])
def test_where_a_read_ends_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    """An mbox gives the same messages whatever the size of a read."""
    (tmp_path / "box").write_bytes(mbox(b"one\nFrom nobody\n", b"", b"\n\n>From three", b"x" * 300))
    whole = read(tmp_path / "box")
    monkeypatch.setattr(files, "_CHUNK", size)
    assert len(whole) == 4
    assert read(tmp_path / "box") == whole


def test_a_message_beyond_the_limit_is_cut_where_the_reader_can_tell(tmp_path: Path) -> None:
    """One byte more than the limit is handed out, and the messages after it are whole."""
    (tmp_path / "mail").write_bytes(b"Subject: x\n\n" + b"y" * 5000)
    (tmp_path / "mbox").write_bytes(mbox(b"z" * 5000, b"two"))
    (_, plain), (_, first), (_, second) = read(tmp_path, most=1000)
    assert len(plain) == 1001
    assert len(first) < 1002
    assert second == b"Subject: x\n\ntwo\n"


def test_standard_input_is_read_as_a_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pipe may hold one mail or an mbox."""
    for content, sources in ((MAIL, ["-"]), (mbox(b"one", b"two"), ["-#1", "-#2"]), (b"", ["-"])):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
        assert [source for source, _ in read("-")] == sources


def test_what_cannot_be_opened_is_reported_and_the_rest_is_read(tmp_path: Path) -> None:
    """One bad path costs one complaint, which names it."""
    (tmp_path / "mail").write_bytes(MAIL)
    problems: list[InputError] = []
    missing = str(tmp_path / "missing")
    found = list(read_files([missing, str(tmp_path / "mail")], problems.append))
    assert found == [(f"{tmp_path}/mail", MAIL)]
    assert [str(problem) for problem in problems] == [f"{missing}: cannot be read: No such file or directory"]


def test_an_mbox_is_streamed(tmp_path: Path) -> None:
    """The first message is handed out before the end of the mbox is read."""
    reader, writer = os.pipe()
    os.write(writer, mbox(b"one", b"two") + b"From x Fri Jan  2 10:00:00 2026\n" + b"y" * 2000)
    with os.fdopen(writer, "wb"):
        messages = read_files([f"/dev/fd/{reader}"], lambda error: pytest.fail(str(error)))
        assert next(messages).raw == b"Subject: x\n\none\n"
    os.close(reader)
