"""What a string may hold, as the grammar can say it: formats and patterns.

Formats are those of JSON Schema as RFC 3339 and others define them, and tighter where they have no
end: at most six digits for the fraction of a second and for each number of a ``duration``, the
longest ``email``, ``hostname`` and ``uri``. Dates are those of the calendar, without leap seconds.
"""

from __future__ import annotations

import re
from typing import Final

from models.errors import SchemaRefused

URI_CHARS: Final = 512
FORMAT_CHARS: Final = {"email": 254, "hostname": 253, "uri": URI_CHARS}
"""Longest value of the formats whose grammar has no end (RFC 5321, RFC 1035; ours for a URI)."""

_LEAP_YEAR = "(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:0[48]|[2468][048]|[13579][26])00)"
# Year 0000 is no year of the calendar: Python's datetime and many others begin at 0001.
_YEAR = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
_DATE = (
    f"(?:{_YEAR}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    f"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|{_LEAP_YEAR}-02-29)"
)
_CLOCK = "(?:[01][0-9]|2[0-3]):[0-5][0-9]"
_TIME = rf"{_CLOCK}:[0-5][0-9](?:\.[0-9]{{1,6}})?(?:Z|[+-]{_CLOCK})"
_N = "[0-9]{1,6}"
_DURATION_TIME = f"T(?:{_N}H(?:{_N}M(?:{_N}S)?)?|{_N}M(?:{_N}S)?|{_N}S)"
_DURATION = (
    f"P(?:(?:{_N}Y(?:{_N}M(?:{_N}D)?)?|{_N}M(?:{_N}D)?|{_N}D)(?:{_DURATION_TIME})?"
    f"|{_DURATION_TIME}|{_N}W)"
)
FORMAT_PATTERNS: Final = {
    "date": f"^{_DATE}$",
    "time": f"^{_TIME}$",
    "date-time": f"^{_DATE}T{_TIME}$",
    "duration": f"^{_DURATION}$",
}
"""RFC 3339, section 5.6 and appendix A."""
FINITE_FORMATS: Final = {"ipv4", "ipv6", "uuid"}
# The grammar counts in 64-bit integers and takes bounds as floats: 2^63 itself would overflow.
INTEGER_FORMATS: Final = {"int32": 2**31, "int64": 2**63 - 1024}
NUMBER_FORMATS: Final = {"float", "double"}
STRING_FORMATS: Final = sorted({*FORMAT_PATTERNS, *FORMAT_CHARS, *FINITE_FORMATS})

UNSPEAKABLE: Final = re.compile(r"[\x00-\x07\x0b\x0e-\x1f\x7f\ud800-\udfff]")
"""Characters that JSON spells as \\uXXXX alone. Answers hold no such escape: it is a second
spelling of any name, under which a property could pass for another one."""
_AMBIGUOUS: Final = re.compile(r"\[\[|\[\^\[|\[[^\]]*(?:&&|--|~~)|\\[WDB]|\{,")
"""What Rust's regular expressions, by which text is written, and Python's, by which it is checked,
read in two ways: sets in sets, negated Unicode classes, a repetition without its least count."""


def check_pattern(pattern: str, where: str) -> None:
    if found := UNSPEAKABLE.search(pattern):
        raise SchemaRefused(f"at {where}, the pattern holds the character U+{ord(found[0]):04X}")
    if found := _AMBIGUOUS.search(pattern):
        raise SchemaRefused(
            f"at {where}, {found[0]!r} in a pattern means different things to different readers",
            hint="write the set of characters out, such as [^0-9A-Za-z_]",
        )
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError) as error:
        raise SchemaRefused(
            f"at {where}, {pattern[:80]!r} is no pattern that can be read: {error}"
        ) from error
