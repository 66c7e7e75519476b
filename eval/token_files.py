"""How fast token files are: packing, entropy coding, and one sample out of 100,000.

usage: python -m eval.token_files [--rounds 5]

Writes eval/results/token_files.json. Times are the CPU time of one process on one thread (best of the rounds), so that
other work on the machine counts less. "payload_mb_per_s" is bytes of plain codes at their exact width, whatever the
coder makes of them; "int64_mb_per_s" the same codes as tensors hold them, 8 bytes each. Codes of a generator are coded
from given probabilities (float32, as many as levels for each code), so without the generator; and "coder_alone" is what
then remains where the probabilities are intervals already: all that works on codes and bytes, and not on probabilities.
"least_network" is what no generator does without: matrix products of one block of width 256, and of its output layer.
"""

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

from eval import records
from tokzoo.benchmarks.machine import machine
from tokzoo.token_files import Frequencies, TokenFile, load, rans, save
from tokzoo.token_files.container import BLOCK_BITS, CODED_BLOCK_BITS
from tokzoo.token_files.entropy import Adaptive, Coder, Plain, Static
from tokzoo.token_files.generated import Generated, Intervals
from tokzoo.token_files.writing import GENERATED_SAMPLES, GENERATED_VALUES
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
        "payload_mb_per_s": round(codes * width / 8 / seconds / 1e6, 2),
        "million_codes_per_s": round(codes / seconds / 1e6, 3),
        "int64_mb_per_s": round(codes * 8 / seconds / 1e6, 2),
    }


def drawn(levels: int, count: int, seed: int = 0) -> np.ndarray:
    """Codes of which some are likelier: probabilities from a flat Dirichlet distribution, 0.6 bits below uniform."""
    generator = np.random.default_rng(seed)
    return generator.choice(levels, size=count, p=generator.dirichlet(np.ones(levels)))


def time_coder(coder: Coder, codes: np.ndarray, width: int, rounds: int) -> dict[str, Any]:
    """Encoding and decoding in blocks as a file has them."""
    step = (BLOCK_BITS if isinstance(coder, Plain) else CODED_BLOCK_BITS) // width
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
            row[name]["percent_over_entropy"] = round(100 * (row[name]["bits_per_code"] / entropy - 1), 2)
        rows.append(row)
        print(json.dumps(row))
    return rows


def generated_row(levels: int, rounds: int) -> dict[str, Any]:
    """Coding from given probabilities, in one block as a file has it, and the part of it that is the coder's own."""
    width, samples = bit_width(levels), min(GENERATED_SAMPLES, GENERATED_VALUES // levels)
    length = min(64, (1 << 25) // (samples * levels))
    table = torch.softmax(torch.randn(samples, levels, generator=torch.Generator().manual_seed(0)), dim=1)
    drawn = torch.multinomial(table, length, replacement=True, generator=torch.Generator().manual_seed(1))
    codes, mask = drawn.reshape(-1, 1).numpy(), np.ones((samples, length), np.bool_)
    coder = Generated((levels,), lambda before: table)
    data = memoryview(coder.encode(codes, mask))
    assert np.array_equal(coder.decode(data, mask), codes)
    bits, entropy = 8 * len(data) / codes.size, -float(table.gather(1, drawn).log2().mean())

    def timed(work: Callable[[], Any]) -> dict[str, float]:
        seconds = cpu_seconds(work, rounds)
        read = 4e-9 * levels * codes.size / seconds
        return rates(seconds, codes.size, width) | {"gb_of_probabilities_per_s": round(read, 2)}

    return {
        "levels": levels,
        "samples": samples,
        "tokens_per_sample": length,
        "entropy_bits": round(entropy, 4),
        "bits_per_code": round(bits, 4),
        "percent_over_entropy": round(100 * (bits / entropy - 1), 2),
        "encode": timed(lambda: coder.encode(codes, mask)),
        "decode": timed(lambda: coder.decode(data, mask)),
        "coder_alone": coder_alone(table.numpy(), drawn, coder.precision, width, rounds),
        "least_network": least_network(levels, samples, width, rounds),
    }


def least_network(levels: int, samples: int, width: int, rounds: int) -> dict[str, float]:
    """The matrix products that give one code of each sample its logits."""
    hidden, block, output = (torch.randn(256, size) for size in (samples, 12 * 256, levels))
    seconds = cpu_seconds(lambda: (hidden.T @ block, hidden.T @ output), rounds)
    return rates(seconds, samples, width)


def generated_rows(rounds: int) -> list[dict[str, Any]]:
    """Codes of several levels, by given probabilities."""
    rows = []
    for levels in LEVELS:
        rows.append(generated_row(levels, rounds))
        print(json.dumps(rows[-1]))
    return rows


def coder_alone(
    table: np.ndarray, drawn: torch.Tensor, precision: int, width: int, rounds: int
) -> dict[str, dict[str, float]]:
    """Bytes of given intervals, in a block of 256 KiB, and back."""
    intervals = Intervals(table, precision)
    pieces = [intervals.of(column.numpy()) for column in drawn.T]
    count = CODED_BLOCK_BITS // width
    frequencies, starts = (np.resize(np.concatenate(part), count) for part in zip(*pieces, strict=True))
    lanes = rans.lane_count(float(precision * count - np.log2(frequencies).sum()), count)
    steps = count // lanes
    frequencies, starts = frequencies[: steps * lanes], starts[: steps * lanes]
    last = np.zeros(0, np.int64)

    def encode() -> bytes:
        return rans.encode(frequencies, starts, [lanes] * steps, last, lanes=lanes, precision=precision)

    data = memoryview(encode())

    def decode() -> None:
        decoder = rans.Decoder(data, precision=precision, fewest=1, most=lanes)
        for begin in range(0, steps * lanes, lanes):
            decoder.slots(lanes)
            decoder.advance(frequencies[begin : begin + lanes], starts[begin : begin + lanes])
        decoder.last(0)

    return {
        "encode": rates(cpu_seconds(encode, rounds), steps * lanes, width),
        "decode": rates(cpu_seconds(decode, rounds), steps * lanes, width),
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
    parser = records.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        result = {
            "what": "CPU time of one process, best of rounds; rates over plain payload bytes, codes, and int64 bytes",
            "command": records.command("token_files"),
            "rounds": rounds,
            "machine": machine(),
            "codes": {"count": CODES, "rows": coding_rows(rounds)},
            "generated_from_given_probabilities": generated_rows(rounds),
            "files": file_rows(Path(folder), rounds),
        }
    records.write_record(RESULT, result)
    print(f"written to {RESULT}")


if __name__ == "__main__":
    main()
