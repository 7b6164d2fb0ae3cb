"""The two themes. Green serves here, amber goes to the General, violet was declined."""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="aidecamp-dark",
    dark=True,
    primary="#7aa2f7",
    secondary="#bb9af7",
    accent="#7dcfff",
    success="#9ece6a",
    warning="#e0af68",
    error="#f7768e",
    foreground="#c8d0ee",
    background="#12131c",
    surface="#181a26",
    panel="#212435",
    variables={
        "footer-key-foreground": "#7dcfff",
        "input-selection-background": "#7aa2f7 35%",
        "quiet": "#8089b3",
        "cursor": "#2b3358",
        "border": "#3b4163",
        "border-blurred": "#2a2e45",
    },
)

LIGHT = Theme(
    name="aidecamp-light",
    dark=False,
    primary="#2e5fc1",
    secondary="#7a3fb8",
    accent="#0f6f8f",
    success="#2f7a2f",
    warning="#9a5b00",
    error="#b3263e",
    foreground="#23283a",
    background="#f7f6f2",
    surface="#efede6",
    panel="#e3e0d6",
    variables={
        "footer-key-foreground": "#0f6f8f",
        "input-selection-background": "#2e5fc1 25%",
        "quiet": "#666a7a",
        "cursor": "#d3dcf3",
        "border": "#b9b4a5",
        "border-blurred": "#d3cfc2",
    },
)
