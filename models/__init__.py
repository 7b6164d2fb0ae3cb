"""Where models come from and how they run. Knows nothing of the other packages."""

import os

# Official builds of ONNX Runtime (since 1.29) report to their maker from a thread of their own,
# unless told not to before they are loaded. Nothing leaves this machine that its user did not send.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
