"""``--watch``: each thing done on the screen as a numbered PNG, and all of them as one GIF."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from runtime.screen.elements import Box, Frame

FRAME_MS = 900
GIF_WIDTH = 800
"""Pixels; the PNGs keep the full size."""
COLORS = 64


class Recorder:
    """Saves frames into ``folder``, which is made when the first one comes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.frames: list[Path] = []
        self._small: list[Any] = []

    def add(self, frame: Frame, caption: str, target: Box | None = None) -> Path:
        """Save ``frame`` with ``target`` outlined and ``caption`` at the foot; its path."""
        from PIL import Image, ImageDraw, ImageFont

        image = Image.fromarray(frame.rgb)
        draw = ImageDraw.Draw(image)
        if target is not None:
            box = target.grow(3, frame.width, frame.height)
            draw.rectangle((box.x, box.y, box.right, box.bottom), outline=(220, 0, 60), width=3)
        height = 26
        draw.rectangle((0, frame.height - height, frame.width, frame.height), fill=(32, 32, 40))
        font = ImageFont.load_default(15)
        text = f"{len(self.frames) + 1:03d}  {caption}"
        draw.text((8, frame.height - height + 4), text, fill=(240, 240, 240), font=font)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{len(self.frames) + 1:03d}.png"
        image.save(path, compress_level=1)
        self.frames.append(path)
        size = (GIF_WIDTH, round(frame.height * GIF_WIDTH / frame.width))
        self._small.append(image.resize(size).quantize(COLORS))
        return path

    def close(self) -> Path | None:
        """Write the animation; its path, or None where nothing was recorded."""
        if not self._small:
            return None
        path = self.folder / "watch.gif"
        first, *rest = self._small
        first.save(path, save_all=True, append_images=rest, duration=FRAME_MS, loop=0)
        return path
