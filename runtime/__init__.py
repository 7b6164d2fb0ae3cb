"""What happens to one task, from words to action."""

import models  # noqa: F401  (what is said to ONNX Runtime is said before rapidocr loads it)
