"""``python -m runtime.daemon``: the daemon's process."""

import gc
import sys

# What is imported now stays: looking through it for garbage takes a tenth of the start. The
# server turns collection on again when it answers.
gc.disable()

from runtime.daemon.server import main  # noqa: E402

sys.exit(main(sys.argv[1:]))
