"""An append that is killed, or runs beside another, loses nothing."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from io import FileIO
from pathlib import Path

import pytest

from tests.token_files.samples import NANO, opened, row, same
from tokzoo.token_files import TokenFile, append, cat, save, writing

Step = tuple[str, int, bytes]


class Recorder(FileIO):
    """Notes every change of the file: ("write", offset, bytes) and ("truncate", size, b"")."""

    steps: list[Step] = []

    def write(self, data: bytes | memoryview, /) -> int:
        self.steps.append(("write", self.tell(), bytes(data)))
        return super().write(data)

    def truncate(self, size: int | None = None, /) -> int:
        assert size is not None
        self.steps.append(("truncate", size, b""))
        return super().truncate(size)


def replay(data: bytes, steps: list[Step]) -> bytes:
    changed = bytearray(data)
    for kind, at, piece in steps:
        if kind == "truncate":
            del changed[at:]
        else:
            changed[at : at + len(piece)] = piece
    return bytes(changed)


def killed(data: bytes, steps: list[Step]) -> list[bytes]:
    """The file as it is left when the process dies at any byte of any write."""
    states = []
    for number, (kind, at, piece) in enumerate(steps):
        before = replay(data, steps[:number])
        cuts = range(len(piece)) if kind == "write" else range(1)
        states += [replay(before, [(kind, at, piece[:cut])]) if kind == "write" else before for cut in cuts]
    return [*states, replay(data, steps)]


def test_killed_at_any_byte_an_append_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.tkz"
    monkeypatch.setattr(writing, "FileIO", Recorder)
    old, new, next_one = row(2), row(1, seed=1), row(1, seed=2)
    save(old, file, tokenizer=NANO)
    data = file.read_bytes()
    Recorder.steps = []
    append(new, file, tokenizer=NANO)
    assert replay(data, Recorder.steps) == file.read_bytes()
    both, kept = cat([old, new]), 0
    for number, state in enumerate(killed(data, Recorder.steps)):
        with opened(state) as survivor:
            tokens = survivor[:]
        assert same(tokens, both) or same(tokens, old)
        kept += same(tokens, old)
        if number % 11:
            continue
        file.write_bytes(state)  # and life goes on
        append(next_one, file, tokenizer=NANO)
        with TokenFile(file) as grown:
            assert same(grown[:], cat([tokens, next_one]))
            assert grown.file_bytes == file.stat().st_size
    assert 0 < kept < len(killed(data, Recorder.steps))


def test_killed_again_while_it_repairs_a_header_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.tkz"
    monkeypatch.setattr(writing, "FileIO", Recorder)
    save(row(2), file)
    data = file.read_bytes()
    Recorder.steps = []
    append(row(1, seed=1), file)
    torn = replay(data, [*Recorder.steps[:2], ("write", 0, Recorder.steps[2][2][:30])])
    file.write_bytes(torn)
    Recorder.steps = []
    append(row(1, seed=2), file)
    for state in killed(torn, Recorder.steps)[::3]:
        with opened(state) as survivor:
            assert same(survivor[:3], cat([row(2), row(1, seed=1)]))


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(FileIO):
        def write(self, data: bytes | memoryview, /) -> int:
            if self.tell() > 600:
                raise OSError(28, "No space left on device")
            return super().write(bytes(data)[:100])  # and writes that take only a part

    save(row(2), tmp_path / "a.tkz")
    monkeypatch.setattr(writing, "FileIO", Full)
    with pytest.raises(OSError, match="No space left"):
        append(row(500), tmp_path / "a.tkz")
    with TokenFile(tmp_path / "a.tkz") as file:
        assert same(file[:], row(2))


APPENDER = """
    import sys, torch
    from tokzoo.token_files import append
    from tokzoo.tokens import Sequence, Tokens
    file, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    print("ready", flush=True)
    sys.stdin.readline()
    for number in range(first, first + count):
        append(Tokens(layout=Sequence(4), indices=torch.full((1, 4), number), levels=(1 << 20,)), file)
"""


def appender(file: Path, first: int, count: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", textwrap.dedent(APPENDER), str(file), str(first), str(count)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def numbers(file: Path) -> list[int]:
    with TokenFile(file) as opened_file:
        indices = opened_file[:].indices
    assert (indices == indices[:, :1]).all()
    return indices[:, 0].tolist()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="files are locked on POSIX only")
def test_two_processes_append_without_losing_a_sample(tmp_path: Path) -> None:
    file = tmp_path / "a.tkz"
    save(replace(row(0, length=4, levels=1 << 20), extent=None), file)
    both = [appender(file, first, 100) for first in (0, 1000)]
    for process in both:
        process.stdout.readline()
    for process in both:
        process.stdin.write(b"go\n")
        process.stdin.close()
    assert [process.wait() for process in both] == [0, 0]
    assert sorted(numbers(file)) == [*range(100), *range(1000, 1100)]


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_killed_processes_leave_every_finished_append(tmp_path: Path) -> None:
    file = tmp_path / "a.tkz"
    save(replace(row(0, length=4, levels=1 << 20), extent=None), file)
    count = 0
    for delay in (0.05, 0.11, 0.23, 0.37):
        process = appender(file, count, 1 << 20)
        process.stdout.readline()
        process.stdin.write(b"go\n")
        process.stdin.close()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = numbers(file)
        assert now == list(range(len(now))) and len(now) >= count
        count = len(now)
    assert count > 4
