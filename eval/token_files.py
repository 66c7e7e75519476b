"""How fast token files are: packing, entropy coding, and one sample out of 100,000.

usage: python -m eval.token_files [--rounds 5]

Writes eval/results/token_files.json. Times are the CPU time of one process on one thread (best of the rounds), so that
other work on the machine counts less. "payload_mb_per_s" is bytes of plain codes at their exact width, whatever the
coder makes of them; "int64_mb_per_s" the same codes as tensors hold them, 8 bytes each.
"""

import argparse
import json
import math
import tempfile
import time
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tokzoo._files import write_atomically
from tokzoo.benchmarks.machine import installed, machine
from tokzoo.token_files import Frequencies, TokenFile, load, save
from tokzoo.token_files.container import BLOCK_BITS
from tokzoo.token_files.entropy import Adaptive, Coder, Generated, Plain, Static
from tokzoo.tokens import Sequence, Tokens, bit_width

RESULT = Path(__file__).parent / "results" / "token_files.json"
LEVELS = (16, 256, 1024, 4096, 16384, 65536)
CODES = 1 << 21
ITEMS, LENGTH = 100_000, 32


def cpu_seconds(work: Callable[[], Any], rounds: int) -> float:
    """Least CPU time of several runs, after one that warms up."""
    work()
    times = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        times.append(time.process_time() - began)
    return min(times)


def rates(seconds: float, codes: int, width: int) -> dict[str, float]:
    """Codes per second in three units."""
    return {
        "payload_mb_per_s": round(codes * width / 8 / seconds / 1e6, 1),
        "million_codes_per_s": round(codes / seconds / 1e6, 2),
        "int64_mb_per_s": round(codes * 8 / seconds / 1e6, 1),
    }


def drawn(levels: int, count: int, seed: int = 0) -> np.ndarray:
    """Codes of which some are likelier: probabilities from a flat Dirichlet distribution, 0.6 bits below uniform."""
    generator = np.random.default_rng(seed)
    return generator.choice(levels, size=count, p=generator.dirichlet(np.ones(levels)))


def time_coder(coder: Coder, codes: np.ndarray, width: int, rounds: int) -> dict[str, Any]:
    """Encoding and decoding in blocks as a file has them."""
    step = BLOCK_BITS // width
    blocks = [codes[start : start + step, None] for start in range(0, len(codes), step)]
    masks = [np.ones((1, len(block)), np.bool_) for block in blocks]
    data = [coder.encode(block, mask) for block, mask in zip(blocks, masks, strict=True)]

    def encode() -> None:
        for block, mask in zip(blocks, masks, strict=True):
            coder.encode(block, mask)

    def decode() -> list[np.ndarray]:
        return [coder.decode(memoryview(part), mask) for part, mask in zip(data, masks, strict=True)]

    assert np.array_equal(np.concatenate(decode())[:, 0], codes)
    return {
        "encode": rates(cpu_seconds(encode, rounds), len(codes), width),
        "decode": rates(cpu_seconds(decode, rounds), len(codes), width),
        "bits_per_code": round(8 * sum(map(len, data)) / len(codes), 4),
    }


def coding_rows(rounds: int) -> list[dict[str, Any]]:
    """Each coder over codes of several levels."""
    rows = []
    for levels in LEVELS:
        codes, width = drawn(levels, CODES), bit_width(levels)
        tokens = Tokens(layout=Sequence(len(codes)), indices=torch.from_numpy(codes)[None], levels=(levels,))
        share = np.bincount(codes) / len(codes)
        entropy = -sum(p * math.log2(p) for p in share if p)
        coders: dict[str, Coder] = {
            "plain": Plain((levels,)),
            "static": Static((levels,), Frequencies.of(tokens)),
            "adaptive": Adaptive((levels,)),
        }
        row: dict[str, Any] = {"levels": levels, "width": width, "entropy_bits": round(entropy, 4)}
        for name, coder in coders.items():
            row[name] = time_coder(coder, codes, width, rounds)
        rows.append(row)
        print(json.dumps(row))
    return rows


def generated_row(rounds: int) -> dict[str, Any]:
    """What coding by a generator costs beside the generator, which here only looks up a table."""
    levels, samples, length = 1024, 32, 64
    codes = drawn(levels, samples * length)[:, None]
    table = torch.rand(samples, levels)
    coder, mask = Generated((levels,), lambda before: table), np.ones((samples, length), np.bool_)
    data = memoryview(coder.encode(codes, mask))
    return {
        "levels": levels,
        "encode": rates(cpu_seconds(lambda: coder.encode(codes, mask), rounds), codes.size, 10),
        "decode": rates(cpu_seconds(lambda: coder.decode(data, mask), rounds), codes.size, 10),
    }


class Counting(FileIO):
    """Counts seeks, reads and bytes."""

    seeks = reads = taken = 0

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self.seeks += 1
        return super().seek(offset, whence)

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.reads, self.taken = self.reads + 1, self.taken + len(data)
        return data


def file_rows(folder: Path, rounds: int) -> list[dict[str, Any]]:
    """A file of 100,000 images of 32 tokens: writing and reading all of it, and opening it for one."""
    indices = torch.from_numpy(drawn(4096, ITEMS * LENGTH)).view(ITEMS, LENGTH)
    tokens = Tokens(layout=Sequence(LENGTH), indices=indices, levels=(4096,), extent=(64, 64))
    rows = []
    for coding in ("plain", "static", "adaptive"):
        path = folder / f"{coding}.tkz"
        written = save(tokens, path, coding=coding)
        draw = np.random.default_rng(1)
        wanted = [int(index) for index in draw.integers(0, ITEMS, 50)]

        def open_one(path: Path = path, wanted: list[int] = wanted) -> None:
            for index in wanted:
                with TokenFile(path) as file:
                    file[index]

        with Counting(path, "rb") as counting:
            TokenFile(counting)
            opening = counting.seeks, counting.reads, counting.taken
        with Counting(path, "rb") as counting:
            assert torch.equal(TokenFile(counting)[54_321].indices, tokens[54_321].indices)
            whole = counting.seeks, counting.reads, counting.taken
        save_seconds = cpu_seconds(lambda p=path, c=coding: save(tokens, p, coding=c), rounds)
        rows.append(
            {
                "coding": coding,
                "items": ITEMS,
                "tokens_per_item": LENGTH,
                "levels": 4096,
                "payload_bits": written.payload_bits,
                "file_bytes": written.file_bytes,
                "save": rates(save_seconds, indices.numel(), 12),
                "load": rates(cpu_seconds(lambda p=path: load(p), rounds), indices.numel(), 12),
                "open_and_read_one_ms": round(1e3 * cpu_seconds(open_one, rounds) / len(wanted), 3),
                "opening": dict(zip(("seeks", "reads", "bytes"), opening, strict=True)),
                "opening_and_one_item": dict(zip(("seeks", "reads", "bytes"), whole, strict=True)),
            }
        )
        print(json.dumps(rows[-1]))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    found = machine()
    found["versions"]["constriction"] = installed("constriction")
    with tempfile.TemporaryDirectory() as folder:
        result = {
            "what": "CPU time of one process, best of rounds; rates over plain payload bytes, codes, and int64 bytes",
            "rounds": rounds,
            "machine": found,
            "codes": {"count": CODES, "rows": coding_rows(rounds)},
            "generated_model_excluded": generated_row(rounds),
            "files": file_rows(Path(folder), rounds),
        }
    RESULT.parent.mkdir(exist_ok=True)
    write_atomically(RESULT, json.dumps(result, indent=2) + "\n")
    print(f"written to {RESULT}")


if __name__ == "__main__":
    main()
