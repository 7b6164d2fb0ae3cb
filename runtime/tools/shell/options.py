"""Risk findings, and programs whose options alone decide their risk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from runtime.core import Risk
from runtime.tools.shell.parse import Word

Finding = tuple[Risk, str]
Classify = Callable[[Sequence[Word]], Finding]
"""Risk of a whole inner command, given as words: how rules class what a program starts."""

ORDER: dict[Risk, int] = {"read": 0, "write": 1, "sensitive": 2}
LOOKS: Finding = ("read", "only reads")


def worst_of(findings: Sequence[Finding]) -> Finding:
    """The finding with the highest risk; the first of equals."""
    return max(findings, key=lambda f: ORDER[f[0]])


@dataclass(frozen=True, slots=True)
class Options:
    """A program whose options decide.

    ``short``: option letters and what they do; ``long``: the same for long names, which GNU
    programs accept abbreviated; ``takes``: letters that take a value, glued to them or as the
    next word; ``glued``: letters whose value can only be glued.
    """

    base: Finding
    short: Mapping[str, Finding] = field(default_factory=dict)
    long: Mapping[str, Finding] = field(default_factory=dict)
    takes: str = ""
    glued: str = ""
    operands: int | None = None
    """Most operands that ``base`` holds for; one more is an output file."""

    def __call__(self, words: Sequence[Word]) -> Finding:
        findings = [self.base]
        worst = worst_of([self.base, *self.short.values(), *self.long.values()])
        if self.operands is not None:
            worst = worst_of([worst, ("write", "writes a second file")])
        operands = 0
        only_operands = False
        taken = False
        for word in words:
            if taken:  # the value of the option before it, even where it is "--"
                taken = False
            elif only_operands or word.text == "-" or not word.text.startswith("-"):
                if not word.exact and not only_operands:
                    findings.append((worst[0], f"{worst[1]} (an argument is only known later)"))
                operands += 1
            elif word.text == "--":
                only_operands = True
            elif not word.exact:
                findings.append(worst)
            elif word.text.startswith("--"):
                name = word.text[2:].split("=")[0]
                findings += [f for option, f in self.long.items() if option.startswith(name)]
            else:
                found, taken = self._short(word.text[1:])
                findings += found
        if self.operands is not None and operands > self.operands:
            findings.append(("write", "writes a second file"))
        return worst_of(findings)

    def _short(self, letters: str) -> tuple[list[Finding], bool]:
        """What a cluster of option letters does, and whether the next word is its value."""
        found = []
        for i, letter in enumerate(letters):
            if letter in self.short:
                found.append(self.short[letter])
            if letter in self.takes:
                return found, i == len(letters) - 1
            if letter in self.glued:
                break
        return found, False
