"""Reading a screen: text lines with their words, and only where something changed.

PP-OCR through rapidocr, whose wheel carries its models. A full pass over a screen takes about
a second, so a frame is compared with the one read before; elements outside the changed parts
are kept, and only what has ink on it is read again. What is not covered: icons, and fields
and buttons without text.
"""

from __future__ import annotations

import os
import re
import threading
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from runtime.screen.changes import changed, inked
from runtime.screen.elements import Box, Element, Frame, Word

SIDE_LIMIT = 1280
"""Pixels. The detector scales no side above this; larger is slower, smaller misses 10 pt text."""
MARGIN = 8
"""Pixels around a changed part, so that a line is read whole."""
FULL_PASS_SHARE = 0.5
"""Where more of the frame than this changed, one pass over all is cheaper than many crops."""
MINIMUM_CONFIDENCE = 0.6


class Reader:
    """Reads frames of one screen, one after another. Holds the models (about 30 MB of files)."""

    def __init__(self) -> None:
        self._engine: Any = None
        self._lock = threading.Lock()
        self._frame: Frame | None = None
        self._elements: tuple[Element, ...] = ()
        self.pixels_read = 0
        """Of the last frame, how many pixels went through recognition."""

    def read(self, frame: Frame) -> tuple[Element, ...]:
        """The lines of text on ``frame``, top to bottom."""
        whole = Box(0, 0, frame.width, frame.height)
        dirty = (whole,) if self._frame is None else changed(self._frame, frame)
        kept, areas = self._split(frame, dirty)
        self.pixels_read = 0
        fresh: list[Element] = []
        for area in areas:
            self.pixels_read += area.width * area.height
            fresh += self._read_area(frame, area)
        self._frame = frame
        self._elements = tuple(sorted([*kept, *fresh], key=lambda e: (e.box.y, e.box.x)))
        return self._elements

    def read_box(self, frame: Frame, box: Box) -> tuple[Element, ...]:
        """The lines within ``box`` alone, read afresh and not remembered."""
        return tuple(self._read_area(frame, box.grow(MARGIN, frame.width, frame.height)))

    def _split(self, frame: Frame, dirty: Sequence[Box]) -> tuple[list[Element], tuple[Box, ...]]:
        """The elements that still hold, and the areas to read."""
        kept = list(self._elements)
        areas = list(dirty)
        # A line that was touched is read again whole, which may touch further lines.
        growing = True
        while growing:
            touched = [e for e in kept if any(e.box.meets(a) for a in areas)]
            kept = [e for e in kept if e not in touched]
            areas += [e.box.grow(2, frame.width, frame.height) for e in touched]
            growing = bool(touched)
        boxes = [b.grow(MARGIN, frame.width, frame.height) for b in inked(frame, areas)]
        boxes = _merged(boxes)
        kept = [e for e in kept if not any(e.box.meets(b) for b in boxes)]
        size = frame.width * frame.height
        if sum(b.width * b.height for b in boxes) > FULL_PASS_SHARE * size:
            return [], (Box(0, 0, frame.width, frame.height),)
        return kept, tuple(boxes)

    def _read_area(self, frame: Frame, area: Box) -> list[Element]:
        # BGR, as rapidocr reads arrays.
        result = self.load()(np.ascontiguousarray(frame.crop(area)[:, :, ::-1]))
        if result.txts is None or result.boxes is None:
            return []
        found = []
        words = result.word_results or [()] * len(result.txts)
        for text, score, corners, parts in zip(
            result.txts, result.scores, result.boxes, words, strict=True
        ):
            if score < MINIMUM_CONFIDENCE:
                continue
            box = _box(corners, area)
            inner = tuple(Word(part[0], _box(part[2], area)) for part in parts if part[2])
            found.append(Element("text", text.strip(), box, float(score), inner))
        return found

    def load(self) -> Any:
        """The OCR engine with its models in memory. May be called from another thread."""
        with self._lock:
            if self._engine is None:
                from rapidocr import RapidOCR

                threads = min(4, os.cpu_count() or 1)
                self._engine = RapidOCR(
                    params={
                        "Global.log_level": "error",
                        "Global.use_cls": False,
                        "Global.return_word_box": True,
                        "Det.limit_type": "max",
                        "Det.limit_side_len": SIDE_LIMIT,
                        "EngineConfig.onnxruntime.intra_op_num_threads": threads,
                    }
                )
                # Each model is loaded at its first use.
                blank = np.full((48, 64, 3), 255, np.uint8)
                self._engine(blank, use_det=False)
                # rapidocr remembers the flags of a call.
                self._engine(blank, use_det=True)
            return self._engine


def _box(corners: Any, area: Box) -> Box:
    xs, ys = [p[0] for p in corners], [p[1] for p in corners]
    x, y = round(min(xs)), round(min(ys))
    return Box(area.x + x, area.y + y, round(max(xs)) - x, round(max(ys)) - y)


def _merged(boxes: Sequence[Box]) -> list[Box]:
    """``boxes`` joined until none meets another."""
    merged: list[Box] = []
    for box in boxes:
        new = box
        while hits := [m for m in merged if m.meets(new)]:
            merged = [m for m in merged if m not in hits]
            for hit in hits:
                new = new.join(hit)
        merged.append(new)
    return merged


def plain(text: str) -> str:
    """``text`` for comparing labels: one case, no accents' variants, no dots or colons around."""
    text = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"\s+", " ", text).strip(" .…:*_|[]()<>\"'“”")


def screen_text(elements: Sequence[Element]) -> str:
    """What the screen says: elements on one height joined to a line, top to bottom."""
    lines: list[list[Element]] = []
    for element in sorted(elements, key=lambda e: e.box.center[1]):
        row = lines[-1] if lines else None
        if row and element.box.center[1] - row[-1].box.center[1] < element.box.height / 2:
            row.append(element)
        else:
            lines.append([element])
    return "\n".join("  ".join(e.text for e in sorted(row, key=lambda e: e.box.x)) for row in lines)


def find(elements: Sequence[Element], label: str, within: Box | None = None) -> tuple[Element, ...]:
    """The places that say ``label``, best first; equally good ones are all returned.

    A line that says it and nothing else comes before a run of words in a longer line, and
    what lies ``within`` (the active window) before the rest. Where nothing says it exactly,
    one letter in a word of four or more may be misread, such as an underlined O.
    """
    for tolerance in (0, 1):
        found = _find(elements, plain(label), within, tolerance)
        if found:
            return found
    return ()


def _find(
    elements: Sequence[Element], wanted: str, within: Box | None, tolerance: int
) -> tuple[Element, ...]:
    scored: list[tuple[float, Element]] = []
    for element in elements:
        bonus = 0.5 if within is not None and within.contains(element.box) else 0.0
        if _same(plain(element.text), wanted, tolerance):
            scored.append((2.0 + bonus, element))
        else:
            scored += [(rank + bonus, part) for rank, part in _runs(element, wanted, tolerance)]
    if not wanted or not scored:
        return ()
    best = max(score for score, _ in scored)
    return tuple(element for score, element in scored if score == best)


def _same(text: str, wanted: str, tolerance: int) -> bool:
    """Equal, or of one length (at least 4) with at most ``tolerance`` letters exchanged."""
    if text == wanted:
        return bool(wanted)
    if len(text) != len(wanted) or len(wanted) < 4:
        return False
    return sum(a != b for a, b in zip(text, wanted, strict=True)) <= tolerance


def _runs(element: Element, wanted: str, tolerance: int) -> list[tuple[float, Element]]:
    """Runs of the line's words that say ``wanted``; 1.8 where wide gaps set them apart."""
    words = element.words
    found = []
    for start in range(len(words)):
        for end in range(start + 1, len(words) + 1):
            text = " ".join(w.text for w in words[start:end])
            if not _same(plain(text), wanted, tolerance):
                continue
            box = words[start].box
            for word in words[start + 1 : end]:
                box = box.join(word.box)
            wide = 0.35 * element.box.height
            left = start == 0 or box.x - words[start - 1].box.right > wide
            right = end == len(words) or words[end].box.x - box.right > wide
            rank = 1.8 if left and right else 1.0
            found.append((rank, Element("text", text, box, element.confidence)))
            break
    return found
