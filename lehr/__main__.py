"""`python -m lehr` is the command `lehr`."""

import sys

from lehr.cli import main

sys.exit(main())
