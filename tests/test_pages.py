"""What a training process asks of the memory allocator, in processes of their own."""

import os
import subprocess
import sys

import pytest

# arrays of 8 MB, freed and taken again: how many pages the system had to give for the second half of them
CODE = """
import os, resource, sys
from lehr.train import pages
if "ask" in sys.argv:
    pages.ask_for_large()
print(os.environ.get("THP_MEM_ALLOC_ENABLE"))
pages.keep_or_return(int(sys.argv[1]))
def faults():
    for _ in range(20):
        held = [bytearray(8_000_000) for _ in range(4)]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt
first = faults()
print((faults() - first) * resource.getpagesize() // 1_000_000)
"""


def measured(*words, **env):
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC", "GLIBC", "THP"))}
    done = subprocess.run(
        [sys.executable, "-c", CODE, *words], env={**clean, **env}, capture_output=True, text=True, check=True
    )
    large, megabytes = done.stdout.split()
    return large, int(megabytes)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_a_small_model_keeps_its_memory_and_a_large_one_returns_it():
    assert measured("1000000", "ask") == ("1", 0)
    large, megabytes = measured(str(2**31), "ask")
    assert large == "1" and megabytes >= 20 * 4 * 8 / 2  # each array anew, in pages of 4 KiB


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_what_the_environment_says_stays_and_other_processes_are_left_alone():
    assert measured("1000000")[0] == "None"
    assert measured("1000000", "ask", THP_MEM_ALLOC_ENABLE="0")[0] == "0"
    own = {"MALLOC_MMAP_THRESHOLD_": "1000000"}
    assert measured("1000000", "ask", **own)[1] > 300
