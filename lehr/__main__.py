"""`python -m lehr` is the command `lehr`; torchrun begins its processes with it."""

import os
import sys

from lehr.cli import main

status = main()
if int(os.environ.get("WORLD_SIZE") or 1) > 1:
    # Everything is written and said. The interpreter's own end would take down threads of gloo and NCCL that may still
    # be waiting for a process that is gone, and can abort in it: a run that is done would end red.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
sys.exit(status)
