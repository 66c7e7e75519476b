"""What the process frees, it keeps: seen in a process of its own, by the pages that the system hands out."""

import resource
import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from tokzoo._memory import keep_freed_memory
if sys.argv[1] == "keep" and not keep_freed_memory():
    sys.exit("no")
for _ in range(10):
    torch.ones(2**24)  # 64 MiB; the first few lie in places of their own
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def pages(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, check=False)
    if done.stderr.strip() == "no":
        pytest.skip("this C library has no such knobs")
    return int(done.stdout)


def test_freed_memory_is_used_again_without_asking_the_system() -> None:
    block = 2**26 // resource.getpagesize()
    assert pages("keep") < block / 4
