"""What pyautogui cannot do on X11: exact typing, windows, and knowing that a key has arrived.

Typing: pyautogui 0.9 types ``>`` for ``<`` and drops what the keyboard has no key for, and
xdotool loses newlines and repeats characters when it remaps a key too early. Here each
character without a key of its own is lent a spare keycode (XTEST), in one mapping change for
the whole text, and a keycode is lent again only after the focused window has answered a ping,
so that no key event is ever read under a later mapping.

Pings: ``_NET_WM_PING`` (EWMH 1.3) is answered in event order, so an answer means that all
input sent before has been handled.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Any

from Xlib import X, Xatom, display, error  # type: ignore[import-untyped]
from Xlib.ext import xtest  # type: ignore[import-untyped]
from Xlib.protocol import event, request  # type: ignore[import-untyped]

FIRST_KEYCODE, LAST_KEYCODE = 8, 255
SHIFT_L = 0xFFE1
CONTROL_KEYSYMS = {"\n": 0xFF0D, "\t": 0xFF09}
PING_TIMEOUT_S = 2.0
PING_SLICE_S = 0.02
PASTE_TIMEOUT_S = 3.0
MEDIA_KEYSYMS = range(0x1008FE00, 0x10090000)
"""XF86 keysyms (play, mail, …): nobody presses those keys on a private display."""
COMMON = "äöüÄÖÜßéèêëàâçîïôûùÉÈÀÇáíóúñÁÍÓÚÑ¿¡åøæÅØÆãõœ€£°§–—…“”‘’„«»•·×✓→"
"""Lent from the start on a private display, before any program has read the mapping."""


def keysym(character: str) -> int:
    """The keysym of a character (X11 protocol, appendix A: Latin-1, then Unicode keysyms)."""
    if character in CONTROL_KEYSYMS:
        return CONTROL_KEYSYMS[character]
    point = ord(character)
    if 0x20 <= point < 0x7F or 0xA0 <= point <= 0xFF:
        return point
    return 0x01000000 + point


class X11:
    """A connection of its own to the display that ``DISPLAY`` names."""

    def __init__(self, private: bool) -> None:
        self.private = private
        self.display: Any = display.Display()
        self.root: Any = self.display.screen().root
        self.root.change_attributes(event_mask=X.SubstructureNotifyMask)
        self.owner: Any = self.root.create_window(0, 0, 1, 1, 0, X.CopyFromParent)
        self._atoms: dict[str, int] = {}
        self._shift = self.display.keysym_to_keycode(SHIFT_L)
        self._keys, self._spare = self._read_keymap()
        self._lent: dict[int, int] = {}
        self._written: dict[int, int] = {}
        if private:
            self.prepare(COMMON[: len(self._spare)])

    def atom(self, name: str) -> int:
        if name not in self._atoms:
            self._atoms[name] = self.display.intern_atom(name)
        return self._atoms[name]

    def read_property(self, window: int, name: str) -> Any:
        """A window's property, or None where the window or the property is gone."""
        try:
            found = self.display.create_resource_object("window", window).get_full_property(
                self.atom(name), X.AnyPropertyType
            )
        except error.BadWindow:
            return None
        return None if found is None else found.value

    # Windows

    def active(self) -> int:
        value = self.read_property(self.root.id, "_NET_ACTIVE_WINDOW")
        return int(value[0]) if value is not None and len(value) else 0

    def windows(self) -> list[dict[str, Any]]:
        """The top-level windows, lowest first."""
        ids = self.read_property(self.root.id, "_NET_CLIENT_LIST_STACKING")
        active = self.active()
        found = (self._window(int(w), active) for w in (ids if ids is not None else ()))
        return [w for w in found if w is not None]

    def _window(self, window: int, active: int) -> dict[str, Any] | None:
        resource = self.display.create_resource_object("window", window)
        try:
            size = resource.get_geometry()
            corner = resource.translate_coords(self.root, 0, 0)
            class_ = resource.get_wm_class()
        except (error.BadWindow, error.BadDrawable):
            return None
        title = self.read_property(window, "_NET_WM_NAME")
        pid = self.read_property(window, "_NET_WM_PID")
        types = self.read_property(window, "_NET_WM_WINDOW_TYPE")
        parent = self.read_property(window, "WM_TRANSIENT_FOR")
        return {
            "id": window,
            "title": _text(title),
            "app": class_[1] if class_ else "",
            "pid": int(pid[0]) if pid is not None and len(pid) else 0,
            # translate_coords gives the root's origin as the window sees it.
            "box": [-int(corner.x), -int(corner.y), int(size.width), int(size.height)],
            "active": window == active,
            "dialog": types is not None and self.atom("_NET_WM_WINDOW_TYPE_DIALOG") in types,
            "parent": int(parent[0]) if parent is not None and len(parent) else 0,
        }

    def _tell_root(self, window: int, type_: str, values: list[int]) -> None:
        target = self.display.create_resource_object("window", window)
        message = event.ClientMessage(
            window=target, client_type=self.atom(type_), data=(32, [*values, 0, 0, 0, 0][:5])
        )
        mask = X.SubstructureRedirectMask | X.SubstructureNotifyMask
        self.root.send_event(message, event_mask=mask)
        self.display.flush()

    def activate(self, window: int) -> None:
        self._tell_root(window, "_NET_ACTIVE_WINDOW", [2, X.CurrentTime])

    def close(self, window: int) -> None:
        """Ask the window to close, as its close button would."""
        self._tell_root(window, "_NET_CLOSE_WINDOW", [X.CurrentTime, 2])

    # Knowing that input has been handled

    def ping(self, timeout_s: float = PING_TIMEOUT_S) -> bool:
        """Wait until the active window has handled all input; False where it cannot say.

        A window that closes meanwhile has handled it; the one active after it is asked then.
        """
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            window = self.active()
            answered = self._ping(window, until)
            if answered or self.active() == window:
                return answered
        return False

    def _ping(self, window: int, until: float) -> bool:
        protocols = self.read_property(window, "WM_PROTOCOLS") if window else None
        if protocols is None or self.atom("_NET_WM_PING") not in protocols:
            return False
        stamp = time.monotonic_ns() // 1000 & 0x7FFFFFFF
        target = self.display.create_resource_object("window", window)
        data = (32, [self.atom("_NET_WM_PING"), stamp, window, 0, 0])
        target.send_event(
            event.ClientMessage(window=target, client_type=self.atom("WM_PROTOCOLS"), data=data),
            event_mask=0,
        )
        self.display.flush()
        while time.monotonic() < until and self.active() == window:
            while self.display.pending_events():
                got = self.display.next_event()
                if got.type == X.ClientMessage and got.data[1][1] == stamp:
                    return True
            select.select([self.display.fileno()], [], [], PING_SLICE_S)
        return False

    def take_primary(self) -> None:
        """Own the primary selection, so that a later owner shows that something was selected."""
        self.owner.set_selection_owner(self.atom("PRIMARY"), X.CurrentTime)
        self.display.sync()

    def primary_taken(self) -> bool:
        """True where a program has selected something since ``take_primary``."""
        owner = self.display.get_selection_owner(self.atom("PRIMARY"))
        return owner not in (X.NONE, self.owner)

    def paste(self, text: str, press: Callable[[], None]) -> bool:
        """Offer ``text`` as the clipboard, ``press`` the keys, and wait until it was fetched.

        Serves the selection itself (ICCCM 2.2), as it must know when the program has its text.
        """
        clipboard = self.atom("CLIPBOARD")
        self.owner.set_selection_owner(clipboard, X.CurrentTime)
        self.display.sync()
        press()
        until = time.monotonic() + PASTE_TIMEOUT_S
        fetched = False
        while not fetched and time.monotonic() < until:
            while self.display.pending_events():
                got = self.display.next_event()
                if got.type == X.SelectionRequest:
                    fetched |= self._serve_selection(got, text.encode())
            if not fetched:
                select.select([self.display.fileno()], [], [], PING_SLICE_S)
        request.SetSelectionOwner(
            display=self.display.display, window=X.NONE, selection=clipboard, time=X.CurrentTime
        )
        self.ping()
        return fetched

    def _serve_selection(self, asked: Any, content: bytes) -> bool:
        """Answer one request for our selection; True where it took the text itself."""
        texts = [self.atom("UTF8_STRING"), self.atom("text/plain;charset=utf-8")]
        place = asked.property or asked.target
        if asked.target == self.atom("TARGETS"):
            offer = [self.atom("TARGETS"), *texts]
            asked.requestor.change_property(place, Xatom.ATOM, 32, offer)
        elif asked.target in texts:
            asked.requestor.change_property(place, asked.target, 8, content)
        else:
            place = X.NONE
        asked.requestor.send_event(
            event.SelectionNotify(
                time=asked.time,
                requestor=asked.requestor,
                selection=asked.selection,
                target=asked.target,
                property=place,
            )
        )
        self.display.flush()
        return asked.target in texts

    # Typing

    def _read_keymap(self) -> tuple[dict[int, tuple[int, bool]], list[int]]:
        """(keysym -> keycode and whether with Shift), and the keycodes that may be lent."""
        rows = self.display.get_keyboard_mapping(FIRST_KEYCODE, LAST_KEYCODE - FIRST_KEYCODE + 1)
        keys: dict[int, tuple[int, bool]] = {}
        spare: list[int] = []
        for code, row in enumerate(rows, FIRST_KEYCODE):
            symbols = [s for s in row if s]
            if all(self.private and s in MEDIA_KEYSYMS for s in symbols):
                spare.append(code)
                continue
            for column in (0, 1):
                if column < len(row) and row[column]:
                    keys.setdefault(row[column], (code, column == 1))
        return keys, spare

    def can_type(self, text: str) -> bool:
        """True where ``text`` needs no more keycodes than there are to lend."""
        return len({s for s in map(keysym, text) if s not in self._keys}) <= len(self._spare)

    def prepare(self, text: str) -> bool:
        """Lend a keycode to every character of ``text`` that has none; True where it changed.

        Keycodes lent before are kept as long as there are others: each change of the mapping
        costs a GTK program about 0.1 s, in which its shortcuts do not answer.
        """
        needed = {s: None for s in map(keysym, text) if s not in self._keys}
        missing = [s for s in needed if s not in self._lent]
        if not missing:
            return False
        taken = set(self._lent.values())
        free = [code for code in self._spare if code not in taken]
        idle = [s for s in self._lent if s not in needed]
        while len(free) < len(missing):
            free.append(self._lent.pop(idle.pop(0)))
        for symbol, code in zip(missing, sorted(free), strict=False):
            self._lent[symbol] = code
        self._write_keymap()
        return True

    def _write_keymap(self) -> None:
        """Map the lent keycodes, in as few requests as there are runs of neighbours."""
        symbols = {code: symbol for symbol, code in self._lent.items()}
        changed = [c for c in self._spare if symbols.get(c, 0) != self._written.get(c, 0)]
        start = 0
        for i, code in enumerate(changed):
            if i + 1 == len(changed) or changed[i + 1] != code + 1:
                run = changed[start : i + 1]
                rows = [[symbols.get(c, 0)] * 2 for c in run]
                self.display.change_keyboard_mapping(run[0], rows)
                start = i + 1
        self._written = symbols
        self.display.sync()

    def type_run(self, text: str) -> None:
        """Type ``text``, whose characters ``prepare`` has seen."""
        for character in text:
            symbol = keysym(character)
            code, shifted = self._keys.get(symbol) or (self._lent[symbol], False)
            if shifted:
                xtest.fake_input(self.display, X.KeyPress, self._shift)
            xtest.fake_input(self.display, X.KeyPress, code)
            xtest.fake_input(self.display, X.KeyRelease, code)
            if shifted:
                xtest.fake_input(self.display, X.KeyRelease, self._shift)
        self.display.sync()

    def give_back(self) -> None:
        """Empty the lent keycodes. Only once the typed text has been handled."""
        self._lent.clear()
        self._write_keymap()

    @property
    def spare_keycodes(self) -> int:
        return len(self._spare)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
