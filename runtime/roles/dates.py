"""Dates and times in English words, resolved against a given moment.

Written here because neither dateparser 1.x nor parsedatetime 2.x reads the plain cases:
"tomorrow at nine", "December 3rd at 10", "tonight at 8" and "in half an hour" each come out
wrong in at least one of them, and both lose where the phrase ends, which the slots need.

Conventions, where English leaves it open (such spans say ``exact=False``):
a day without a time means 09:00; morning 09:00, afternoon 15:00, evening 18:00, night 20:00;
"next Friday" is Friday of the next calendar week (weeks begin on Monday); a bare hour from 1
to 6 means the afternoon; a bare time with no day is the next moment that the clock shows it.
Not read: slashed dates (12/05 means two days), time zones, recurrences ("every Monday").
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta

from runtime.roles.durations import LENGTH, TIME_UNIT, length
from runtime.roles.numbers import NUMBER, UNITS, number

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december",
)  # fmt: skip
DAY_PARTS = {"morning": 9, "afternoon": 15, "evening": 18, "night": 20}
_ORDINALS = (
    "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth",
    "tenth", "eleventh", "twelfth", "thirteenth", "fourteenth", "fifteenth", "sixteenth",
    "seventeenth", "eighteenth", "nineteenth", "twentieth", "twenty-first", "twenty-second",
    "twenty-third", "twenty-fourth", "twenty-fifth", "twenty-sixth", "twenty-seventh",
    "twenty-eighth", "twenty-ninth", "thirtieth", "thirty-first",
)  # fmt: skip
ORDINAL = rf"(?:\d{{1,2}}(?:st|nd|rd|th)|{'|'.join(reversed(_ORDINALS))})"
_MONTH = rf"(?:{'|'.join('may' if m == 'may' else f'{m[:3]}(?:{m[3:]})?' for m in MONTHS)}|sept)\.?"
_DAYNAME = rf"(?:tues|thurs|thur|{'|'.join(f'{d[:3]}(?:{d[3:]})?' for d in WEEKDAYS)})"
_X = re.IGNORECASE | re.VERBOSE
_DATE = re.compile(
    rf"""(?<![\w./:-])(?:
    (?P<iso>\d{{4}}-\d{{2}}-\d{{2}}(?:[T\s]\d{{2}}:\d{{2}}(?::\d{{2}})?)?)
  | (?P<after>(?:the\s+)?day\s+after\s+tomorrow)
  | (?P<word>today|tomorrow|tonight|yesterday)
  | this\s+(?P<this>morning|afternoon|evening)
  | (?P<which>next|this)\s+(?P<span>weekend|week|month|year)
  | (?:(?P<rel>next|this\s+coming|this|coming)\s+)?(?P<dayname>{_DAYNAME})\b(?!['’]s)
    (?P<nextweek>\s+next\s+week)?
  | (?P<m1>{_MONTH})\s+(?:the\s+)?(?P<d1>{ORDINAL}|\d{{1,2}})(?:,?\s+(?P<y1>20\d\d))?
  | (?:the\s+)?(?P<d2>{ORDINAL}|\d{{1,2}})\s+(?:of\s+)?(?P<m2>{_MONTH})(?:,?\s+(?P<y2>20\d\d))?
  | the\s+(?P<d3>\d{{1,2}}(?:st|nd|rd|th))
    (?!\s+(?!(?:at|by|around|of|to|in|from|until|and|please|for|with|remind)\b)\w)
    )(?![\w/-]|:\d)(?:\s+(?P<part>morning|afternoon|evening|night)\b)?""",
    _X,
)
_HOUR = "(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve)"
_MINUTE = (
    r"(?:oh[\s-]five|five|ten|fifteen|twenty(?:[\s-]five)?|thirty(?:[\s-]five)?"
    r"|forty(?:[\s-]five)?|fifty(?:[\s-]five)?)"
)
_AMPM = r"(?:[ap]\.m\.|[ap]m\b)"
_TAIL = r"(?:\s+in\s+the\s+(?P<tail>morning|afternoon|evening)|\s+at\s+(?P<late>night))?"
_CLOCK = re.compile(
    rf"""(?<![\w./:-])(?:
    (?P<h1>\d{{1,2}})[:.](?P<min1>[0-5]\d)(?::[0-5]\d)?(?:\s*(?P<ap1>{_AMPM}))?
  | (?P<h2>\d{{1,2}}|{_HOUR}(?:\s+(?P<min2>{_MINUTE}))?)\s*(?P<ap2>{_AMPM})
  | (?P<h3>\d{{1,2}}|{_HOUR})\s*o\s?['’]?\s?clock
  | (?P<past>half|(?:a\s+)?quarter|{_MINUTE}|\d{{1,2}})(?:\s+minutes?)?\s+(?P<side>past|to)
    \s+(?P<h4>\d{{1,2}}|{_HOUR})\b(?:\s*(?P<ap4>{_AMPM}))?
  | (?P<fixed>noon|midday|midnight)
    )(?![\w/%-]|:\d){_TAIL}""",
    _X,
)
_BARE = re.compile(
    rf"""(?P<h5>\d{{1,2}}|{_HOUR})(?:[\s-](?P<min5>{_MINUTE}))?
    (?![\w%/-]|[.,:]\d|\s*(?:{TIME_UNIT}|people|percent|of|other|times|and\s+a\s+half|[kmgt]i?b)\b)
    {_TAIL}""",
    _X,
)
_AT = re.compile(r"\b(?:at|by|around|about|before|until|till|from|for)\s+$", re.IGNORECASE)
_STRONG_AT = re.compile(r"\b(?:at|by|around|until|till)\s+$", re.IGNORECASE)
_GLUE = re.compile(
    r"\s*,?\s*(?:(?:at|by|on|around|about|before|until|from|starting\s+at|for)\s+)?$", re.IGNORECASE
)
_LEAD = re.compile(
    r"\b(?:on|at|by|in|for|around|about|before|until|till|from|this\s+coming)\s+$", re.IGNORECASE
)
_OFFSET = re.compile(
    rf"""\b(?:in|within)\s+(?P<ahead>{LENGTH})(?!\w)(?:['’]?\s+time\b)?
    |(?<![\w.-])(?P<later>{LENGTH})\s+(?:from\s+(?P<base>now|today|tomorrow|{_DAYNAME})|later)\b
    |(?<![\w.-])(?P<ago>{LENGTH})\s+ago\b""",
    _X,
)


@dataclass(frozen=True, slots=True)
class Moment:
    """A date and time. ``exact`` is False where a convention of this file filled a gap."""

    value: datetime
    start: int
    end: int
    exact: bool


@dataclass(frozen=True, slots=True)
class _Clock:
    hour: int
    minute: int
    start: int
    end: int
    certain: bool
    """True where am or pm is known."""


@dataclass(frozen=True, slots=True)
class _Day:
    day: date
    start: int
    end: int
    part: str = ""
    given: time | None = None
    exact: bool = True


def moments(text: str, now: datetime) -> list[Moment]:
    """Every date or time in ``text``, left to right, without overlaps."""
    found: list[Moment] = []
    offsets = list(_offsets(text, now))
    days = [d for d in _days(text, now) if not _inside(d.start, d.end, offsets)]
    days = _merged(text, days)
    clocks = [c for c in _clocks(text, days) if not _inside(c.start, c.end, offsets)]
    for offset in offsets:
        day = _Day(offset.value.date(), offset.start, offset.end)
        clock = next((c for c in clocks if not offset.exact and _joined(text, day, c)), None)
        if clock:
            clocks.remove(clock)
        found.append(_resolve(day, clock, now) if clock else offset)
    for day in days:
        clock = next((c for c in clocks if _joined(text, day, c)), None)
        if clock:
            clocks.remove(clock)
        found.append(_resolve(day, clock, now))
    found.extend(_resolve(None, clock, now) for clock in clocks)
    found = [_lead(text, m) for m in found]
    return sorted(found, key=lambda m: m.start)


def _merged(text: str, days: list[_Day]) -> list[_Day]:
    """ "Wednesday the 25th" and "Friday, December 4" are one day each: the dated one counts."""
    merged: list[_Day] = []
    for day in days:
        last = merged[-1] if merged else None
        if last and last.end < day.start and not text[last.end : day.start].strip(" ,"):
            named = text[last.start : last.end].lower().endswith("day")
            if named and day.day.weekday() == last.day.weekday():
                merged[-1] = replace(day, start=last.start)
                continue
        merged.append(day)
    return merged


def _before(text: str, place: int) -> str:
    """The few characters before a place: enough for a preposition, whatever the text's length."""
    return text[max(0, place - 24) : place]


def _inside(start: int, end: int, moments_: list[Moment]) -> bool:
    return any(start < m.end and end > m.start for m in moments_)


def _joined(text: str, day: _Day, clock: _Clock) -> bool:
    if clock.start >= day.end:
        return bool(_GLUE.match(text[day.end : clock.start]))
    return day.start >= clock.end and bool(_GLUE.match(text[clock.end : day.start]))


def _lead(text: str, moment: Moment) -> Moment:
    """The moment with the preposition that belongs to it ("at", "on", "by")."""
    match = _LEAD.search(_before(text, moment.start))
    length_ = len(match.group()) if match else 0
    start = moment.start - length_
    return Moment(moment.value, start, moment.end, moment.exact)


def _offsets(text: str, now: datetime) -> Iterator[Moment]:
    for match in _OFFSET.finditer(text):
        phrase = match.group("ahead") or match.group("later") or match.group("ago")
        base = now
        if match.group("base") and match.group("base").lower() != "now":
            day = next(iter(_days(match.group("base"), now)))
            base = datetime.combine(day.day, time(9))
        sign = -1 if match.group("ago") else 1
        try:
            moved = _shift(base, phrase, sign)
        except (OverflowError, ValueError):  # beyond the years that a calendar holds
            continue
        yield Moment(moved, match.start(), match.end(), base == now)


def _shift(base: datetime, phrase: str, sign: int) -> datetime:
    """``base`` moved by a phrase; months and years by the calendar, not by 30 or 365 days."""
    calendar = re.fullmatch(rf"({NUMBER}|an?)\s+(month|year)s?", phrase.strip(), re.IGNORECASE)
    if not calendar:
        return base + sign * timedelta(seconds=length(phrase))
    amount = calendar.group(1).lower()
    count = 1 if amount in ("a", "an") else int(number(amount))
    months = sign * count * (12 if calendar.group(2).lower() == "year" else 1)
    return _add_months(base, months)


def _add_months(base: datetime, months: int) -> datetime:
    index = base.year * 12 + base.month - 1 + months
    year, month = divmod(index, 12)
    for day in range(base.day, base.day - 4, -1):
        try:
            return base.replace(year=year, month=month + 1, day=day)
        except ValueError:
            continue
    raise ValueError(f"no such month: {year}-{month + 1}")


def _days(text: str, now: datetime) -> Iterator[_Day]:
    today = now.date()
    for match in _DATE.finditer(text):
        if match.group("dayname") and _is_other_word(match):
            continue
        try:
            yield _day(match, today)
        except ValueError:  # 31 February, or an hour of 25: no date
            continue


def _is_other_word(match: re.Match[str]) -> bool:
    """True for "sun", "sat", "wed", "may" and the like in small letters: not a day's name."""
    name = match.group("dayname")
    return len(name) < 4 and name.islower() and not match.group("rel")


def _day(match: re.Match[str], today: date) -> _Day:
    start, end = match.span()
    part = (match.group("part") or "").lower()
    if text := match.group("iso"):
        moment = datetime.fromisoformat(text.replace(" ", "T"))
        given = moment.time() if len(text) > 10 else None
        return _Day(moment.date(), start, end, part, given)
    if match.group("after"):
        return _Day(today + timedelta(days=2), start, end, part)
    if word := (match.group("word") or "").lower():
        shift = {"today": 0, "tonight": 0, "tomorrow": 1, "yesterday": -1}[word]
        part = part or ("night" if word == "tonight" else "")
        return _Day(today + timedelta(days=shift), start, end, part)
    if this := match.group("this"):
        return _Day(today, start, end, this.lower())
    if span := (match.group("span") or "").lower():
        return _Day(
            _next_span(today, span, match.group("which").lower()), start, end, part, None, False
        )
    if match.group("dayname"):
        day, exact = _weekday(match, today)
        return _Day(day, start, end, part, None, exact)
    return _Day(_month_day(match, today), start, end, part)


def _next_span(today: date, span: str, which: str) -> date:
    """Where "next week" and the like begin; "this weekend" is the coming Saturday."""
    monday = today - timedelta(days=today.weekday())
    weeks = timedelta(days=7 if which == "next" else 0)
    if span == "week":
        return monday + weeks
    if span == "weekend":
        return monday + timedelta(days=5) + weeks
    if span == "month":
        first = datetime.combine(today.replace(day=1), time())
        return _add_months(first, 1 if which == "next" else 0).date()
    return date(today.year + (1 if which == "next" else 0), 1, 1)


def _weekday(match: re.Match[str], today: date) -> tuple[date, bool]:
    name = match.group("dayname").lower()
    index = next(i for i, day in enumerate(WEEKDAYS) if day.startswith(name[:3]))
    coming = today + timedelta(days=(index - today.weekday() - 1) % 7 + 1)
    relation = (match.group("rel") or "").lower()
    if relation == "next" or match.group("nextweek"):
        monday = today - timedelta(days=today.weekday())
        day = monday + timedelta(days=7 + index)
        return day, day == coming or bool(match.group("nextweek"))
    return coming, True


def ordinal(words: str) -> int:
    """The number of "third", "3rd" or "3". Raises ValueError on anything else."""
    lower = words.lower()
    return _ORDINALS.index(lower) + 1 if lower in _ORDINALS else int(re.sub(r"\D", "", words))


def _month_day(match: re.Match[str], today: date) -> date:
    words = match.group("d1") or match.group("d2") or match.group("d3")
    day = ordinal(words)
    name = (match.group("m1") or match.group("m2") or "").lower()
    if not name:
        first = datetime.combine(today.replace(day=1), time())
        month = first if day > today.day else _add_months(first, 1)
        return month.date().replace(day=day)
    month_index = next(i for i, m in enumerate(MONTHS, start=1) if m.startswith(name[:3]))
    year = match.group("y1") or match.group("y2")
    if year:
        return date(int(year), month_index, day)
    this_year = date(today.year, month_index, day)
    return this_year if this_year >= today else date(today.year + 1, month_index, day)


def _clocks(text: str, days: list[_Day]) -> list[_Clock]:
    found = []
    for match in _CLOCK.finditer(text):
        if _doubtful(match) and not _STRONG_AT.search(_before(text, match.start())):
            continue
        if any(d.start < match.end() and d.end > match.start() for d in days):
            continue
        if (clock := _clock(match)) is not None:
            found.append(clock)
    for match in _bare_hours(text, days):
        taken = any(c.start < match.end() and c.end > match.start() for c in found)
        if not taken and (clock := _clock(match)) is not None:
            found.append(clock)
    return sorted(found, key=lambda c: c.start)


def _doubtful(match: re.Match[str]) -> bool:
    """True for "3.50", which is a price, and "5 to 10", a range, unless "at" stands before."""
    dotted = bool(match.group("h1")) and "." in match.group()[:3] and not match.group("ap1")
    ranged = (match.group("past") or "").isdigit() and "minute" not in match.group()
    return dotted or ranged


def _bare_hours(text: str, days: list[_Day]) -> Iterator[re.Match[str]]:
    """Hours with neither am nor minutes: after "at", or right beside a day."""
    for place in re.finditer(rf"(?<![\w.,:/-])(?=\d{{1,2}}\b|{_HOUR}\b)", text, re.IGNORECASE):
        match = _BARE.match(text, place.start())
        if not match:
            continue
        before = _before(text, match.start())
        beside = any(
            (
                match.start() >= d.end
                and re.fullmatch(
                    r"\s*,?\s*(?:at|by|around|about|from)?\s*",
                    text[d.end : match.start()],
                    re.IGNORECASE,
                )
            )
            or (
                d.start >= match.end()
                and re.fullmatch(r"\s+(?:on\s+)?", text[match.end() : d.start], re.IGNORECASE)
                and _AT.search(before)
            )
            for d in days
        )
        inside = any(d.start < match.end() and d.end > match.start() for d in days)
        if not inside and (beside or _STRONG_AT.search(before)):
            yield match


def _hour(words: str) -> int:
    return int(words) if words.isdigit() else UNITS[words.lower()]


def _minute(words: str) -> int:
    lower = words.lower().replace("-", " ")
    if lower == "half":
        return 30
    if lower.endswith("quarter"):
        return 15
    return 5 if lower == "oh five" else int(number(lower))


def _clock(match: re.Match[str]) -> _Clock | None:
    group = match.groupdict()
    start, end = match.span()
    half = (group.get("ap1") or group.get("ap2") or group.get("ap4") or "").lower()[:1]
    tail = (group.get("tail") or group.get("late") or "").lower()
    if tail:
        half = half or ("a" if tail == "morning" else "p")
    minute = 0
    if fixed := group.get("fixed"):
        return _Clock(0 if fixed.lower() == "midnight" else 12, 0, start, end, True)
    if group.get("h1"):
        hour, minute = int(group["h1"]), int(group["min1"])
    elif group.get("h2"):
        hour = _hour(group["h2"].split()[0])
        minute = _minute(group["min2"]) if group.get("min2") else 0
    elif group.get("h4"):
        hour, minute = _hour(group["h4"]), _minute(group["past"])
        if group["side"].lower() == "to":
            hour, minute = hour - 1 if hour > 1 else 12, 60 - minute
    else:
        hour = _hour(group.get("h3") or group["h5"])
        minute = _minute(group["min5"]) if group.get("min5") else 0
    if hour > 23 or (half and hour > 12):
        return None
    if half:
        if tail == "night" and hour in (12, 1, 2, 3, 4):
            return _Clock(hour % 12, minute, start, end, True)
        return _Clock(hour % 12 + (12 if half == "p" else 0), minute, start, end, True)
    spelled = match.group()[:1] == "0"
    return _Clock(hour, minute, start, end, hour > 12 or hour == 0 or spelled)


def _resolve(day: _Day | None, clock: _Clock | None, now: datetime) -> Moment:
    if day is None:
        if clock is None:
            raise ValueError("a moment needs a day or a time")
        return _next_time(clock, now)
    start, end = day.start, day.end
    if clock is None:
        when = day.given or time(DAY_PARTS.get(day.part, 9))
        return Moment(datetime.combine(day.day, when), start, end, bool(day.given))
    start, end = min(start, clock.start), max(end, clock.end)
    hour, exact = clock.hour, day.exact
    if not clock.certain:
        if day.part in ("afternoon", "evening", "night"):
            hour = hour % 12 + 12
        elif day.part != "morning":
            exact = exact and 7 <= hour <= 12
            hour = hour + 12 if 1 <= hour <= 6 else hour
    moment = datetime.combine(day.day, time(hour % 24, clock.minute))
    if clock.hour == 0 and day.part == "night":
        moment += timedelta(days=1)
    if not clock.certain and day.day == now.date() and moment <= now and hour < 12:
        moment += timedelta(hours=12)
    return Moment(moment, start, end, exact)


def _next_time(clock: _Clock, now: datetime) -> Moment:
    """The next moment, after ``now``, that the clock shows it."""
    today = datetime.combine(now.date(), time(clock.hour % 24, clock.minute))
    if clock.certain:
        moment = today if today > now else today + timedelta(days=1)
        return Moment(moment, clock.start, clock.end, True)
    step = timedelta(hours=12)
    moment = datetime.combine(now.date(), time(clock.hour % 12, clock.minute))
    while moment <= now:
        moment += step
    if moment.hour < 6:  # nobody means four in the morning without saying so
        moment += step
    return Moment(moment, clock.start, clock.end, False)
