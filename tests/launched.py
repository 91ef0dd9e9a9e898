"""What torchrun begins in the tests: `lehr`, with the faults of forks.py.

    torchrun --nproc-per-node 2 tests/launched.py RANK CALL train ...

Process RANK, when it is begun for the first time, kills itself at the CALL-th loss that is asked for.
"""

import os
import signal
import sys

from forks import hurt_at, leave_out_pictures

from lehr.cli import main

if __name__ == "__main__":  # pytest looks for doctests in it
    rank, call, *words = sys.argv[1:]
    if os.environ["RANK"] == rank and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
        hurt_at(int(call), signal.SIGKILL)
    leave_out_pictures()
    status = main(words)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
