"""Settings of the whole suite."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded: tests run side by side, a core each

from hypothesis import settings

# No deadline: on a machine shared with others the time of one example says nothing about the code. In CI the examples
# are the same each time, so that a red build is the doing of the change under test and not of the draw; at home they
# are new each time, so that they go on looking.
settings.register_profile("lehr", deadline=None)
settings.register_profile("lehr-ci", settings.get_profile("lehr"), derandomize=True, print_blob=True)
settings.load_profile("lehr-ci" if os.environ.get("CI") else "lehr")
