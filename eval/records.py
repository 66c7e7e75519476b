"""What the scripts of this folder share: options about held-out photos, and the record that a run leaves."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tokzoo._files import write_atomically

RESULTS = Path("eval/results")


def parser(about: str | None) -> argparse.ArgumentParser:
    """Its help is a script's docstring, with its lines as they are."""
    return argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)


def held_out_parser(about: str | None, out: str) -> argparse.ArgumentParser:
    """Of a script that measures on held-out photos and writes `RESULTS / out` by default."""
    made = parser(about)
    made.add_argument("--photos", type=Path, required=True)
    made.add_argument("--out", type=Path, default=RESULTS / out)
    made.add_argument("--limit", type=int, help="held-out photos; default: all")
    return made


def command(script: str, arguments: Sequence[str] | None = None) -> str:
    """What makes a record again, folders above the repository left out; the arguments are by default this process's."""
    told = sys.argv[1:] if arguments is None else arguments
    return " ".join(
        [f"python -m eval.{script}", *(Path(word).name if word.startswith("..") else word for word in told)]
    )


def print_claims(claims: Mapping[str, bool]) -> None:
    """A line for each."""
    for claim, holds in claims.items():
        print(f"{'holds' if holds else 'FAILS'}: {claim}")


def write_record(file: Path, record: Mapping[str, Any]) -> None:
    """As JSON, in one step; its folder is made where it is not there."""
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, json.dumps(record, indent=2) + "\n")
