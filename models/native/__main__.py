"""``python -m models.native``: compile the kernels for this machine. Exit code 1 where it fails."""

from __future__ import annotations

import sys

from models import native
from models.errors import AidecampError

try:
    print(native.build())
except AidecampError as error:
    print(error.message, file=sys.stderr)
    sys.exit(1)
