"""What is seen on a screen: frames of pixels, and the elements that were read from them.

Coordinates are whole pixels of the display, the origin at the top left.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ElementKind = Literal["text"]


@dataclass(frozen=True, slots=True)
class Box:
    """A rectangle: left, top, width and height."""

    x: int
    y: int
    width: int
    height: int

    @property
    def center(self) -> tuple[int, int]:
        return self.x + self.width // 2, self.y + self.height // 2

    @property
    def right(self) -> int:
        return self.x + self.width

    @property
    def bottom(self) -> int:
        return self.y + self.height

    def meets(self, other: Box) -> bool:
        """True where the two share at least one pixel."""
        return (
            self.x < other.right
            and other.x < self.right
            and self.y < other.bottom
            and other.y < self.bottom
        )

    def contains(self, other: Box) -> bool:
        return (
            self.x <= other.x
            and self.y <= other.y
            and self.right >= other.right
            and self.bottom >= other.bottom
        )

    def join(self, other: Box) -> Box:
        """The smallest box around both."""
        x, y = min(self.x, other.x), min(self.y, other.y)
        return Box(x, y, max(self.right, other.right) - x, max(self.bottom, other.bottom) - y)

    def grow(self, by: int, width: int, height: int) -> Box:
        """This box with ``by`` pixels more on each side, kept within ``width`` x ``height``."""
        x, y = max(0, self.x - by), max(0, self.y - by)
        return Box(x, y, min(width, self.right + by) - x, min(height, self.bottom + by) - y)

    def as_list(self) -> list[int]:
        return [self.x, self.y, self.width, self.height]


@dataclass(frozen=True, slots=True)
class Word:
    """One word of a line of text, and where it is."""

    text: str
    box: Box


@dataclass(frozen=True, slots=True)
class Element:
    """One thing on the screen: what it says, where it is, and how sure the reader is."""

    kind: ElementKind
    text: str
    box: Box
    confidence: float
    """In [0, 1], as the recognizer gave it."""
    words: tuple[Word, ...] = ()
    """The words of a line, left to right: a menu bar is read as one line."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "text": self.text,
            "box": self.box.as_list(),
            "confidence": round(self.confidence, 3),
        }


@dataclass(frozen=True, slots=True)
class Frame:
    """The pixels of a display at one moment. ``rgb`` has shape [height, width, 3], uint8."""

    rgb: NDArray[np.uint8]
    at: float
    """Unix time in seconds."""

    @property
    def width(self) -> int:
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        return int(self.rgb.shape[0])

    def crop(self, box: Box) -> NDArray[np.uint8]:
        return self.rgb[box.y : box.bottom, box.x : box.right]


@dataclass(frozen=True, slots=True)
class Window:
    """A top-level window, as the window manager lists it."""

    id: int
    title: str
    app: str
    """Class part of WM_CLASS, such as ``Mousepad``."""
    pid: int
    box: Box
    active: bool
    dialog: bool
    parent: int
    """Window that a dialog belongs to, or 0."""
