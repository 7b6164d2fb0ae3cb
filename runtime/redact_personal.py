"""Personal data by its format: e-mail, phone, IBAN, card, public IP address, national id.

Phone numbers are found by ``phonenumbers`` (Google's libphonenumber), check digits are checked
by ``python-stdnum``. Only what passes its check is a find, so that an ordinary number stays.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence

from runtime.redact_span import Span

_EMAIL = re.compile(
    r"(?<![\w.+-])(?!git@)\w[\w.!#$%&'*+/=?^`{|}~-]*@(?:[\w-]+\.)+[^\W\d_]{2,}(?![\w@])"
)
_IN_URL = re.compile(r"://[^\s/]*$")
"""Before an ``@``: what follows is a host, and what precedes it credentials (a secret)."""
_IBAN = re.compile(r"\b[A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}\b")
_DIGITS = re.compile(r"(?<![\w.,-])\d(?:[ -]?\d){12,}(?![\w-]|[.,]\d)")
_GROUP = re.compile(r"\d+")
_MAX_CARD = 19
"""Digits of the longest card number (ISO/IEC 7812)."""
_CARD_ISSUER = re.compile(
    r"3[47]\d{13}|3[0689]\d{12}|4(?:\d{12}|\d{15}|\d{18})|(?:5[1-5]|2[2-7])\d{14}|6\d{15,18}"
)
"""First digits and lengths of American Express, Diners, Visa, Mastercard, and of the others."""
_IPV4 = re.compile(r"(?<![\w.-])(?:\d{1,3}\.){3}\d{1,3}(?![\w-]|\.\w)")
_IPV6 = re.compile(r"(?<![\w:.])(?:[0-9a-fA-F]{1,4}:|::)[0-9a-fA-F:]*[0-9a-fA-F:]\b(?!:)")
_VERSION_BEFORE = re.compile(r"(?:\bv|version|release|build)[ :=]*$", re.IGNORECASE)
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")

_PHONE_WORD = re.compile(
    r"\b(?:phone|call|tel|mobile|cell|fax|sms|text|dial|ring|whatsapp|reach|handy)\w*\W",
    re.IGNORECASE,
)
_PHONE_WORD_REACH = 40
"""Characters before a number without any separator in which a word must say that it is one."""
_PHONE = re.compile(r"(?<![\w.,:+-])(?:\+ ?|\()?\d(?:[ ()./-]{0,3}\d){6,14}(?![\w:]|[.,-]\d)")
_GROUPED = re.compile(r"\)|^0\d+[ ./-]|\d[ .-]\d+[ .-]\d")
"""Written in groups, as people write phone numbers. What is not needs a word before it."""


def personal_data(text: str, regions: Sequence[str]) -> Iterator[Span]:
    """Spans of personal data; they may overlap."""
    for match in _EMAIL.finditer(text):
        if _IN_URL.search(text, 0, match.start()) is None:
            yield Span(match.start(), match.end(), "EMAIL")
    yield from _ibans(text)
    yield from _cards(text)
    yield from _addresses(text)
    yield from _national_ids(text)
    yield from _phones(text, regions)


def _ibans(text: str) -> Iterator[Span]:
    for match in _IBAN.finditer(text):
        from stdnum import iban

        # In running text the next words look like more of it: the country says how long it is.
        value = match.group()
        for end in range(len(value), 14, -1):
            if value[end - 1] not in " -" and iban.is_valid(value[:end]):
                yield Span(match.start(), match.start() + end, "IBAN")
                break


def _cards(text: str) -> Iterator[Span]:
    for match in _DIGITS.finditer(text):
        groups = [g.span() for g in _GROUP.finditer(text, match.start(), match.end())]
        # Other numbers can stand beside it: every run of whole groups is tried.
        for i, (start, _) in enumerate(groups):
            for _, end in groups[i : i + _MAX_CARD]:
                if end - start > 2 * _MAX_CARD:
                    break
                if _is_card(re.sub(r"\D", "", text[start:end])):
                    yield Span(start, end, "CARD")


def _is_card(digits: str) -> bool:
    from stdnum import luhn

    return bool(_CARD_ISSUER.fullmatch(digits) and luhn.is_valid(digits))


def _addresses(text: str) -> Iterator[Span]:
    """Public IP addresses. Private and loopback ones name nobody, and plans need them."""
    for match in _IPV4.finditer(text):
        if _VERSION_BEFORE.search(text, 0, match.start()) is None and _is_public(match.group()):
            yield Span(match.start(), match.end(), "IP")
    for match in _IPV6.finditer(text):
        if _is_public(match.group()):
            yield Span(match.start(), match.end(), "IP")


def _is_public(value: str) -> bool:
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return False
    # A name such as ``a::b`` parses as an address too, but no such block is in use.
    return address.is_global and (address.version == 4 or address in _GLOBAL_UNICAST)


def _us_ssn(value: str) -> bool:
    from stdnum.us import ssn

    return bool(ssn.is_valid(value))


def _gb_nino(value: str) -> bool:
    # stdnum has no check of it: the pattern alone (HMRC's NIM39110) decides.
    return value[:2].upper() not in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ")


def _it_codice_fiscale(value: str) -> bool:
    from stdnum.it import codicefiscale

    return bool(codicefiscale.is_valid(value))


def _es_nif(value: str) -> bool:
    from stdnum.es import nif

    return bool(nif.is_valid(value))


def _fr_nir(value: str) -> bool:
    from stdnum.fr import nir

    return bool(nir.is_valid(value))


def _br_cpf(value: str) -> bool:
    from stdnum.br import cpf

    return bool(cpf.is_valid(value))


_NATIONAL_IDS: tuple[tuple[re.Pattern[str], Callable[[str], bool]], ...] = (
    (re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])"), _us_ssn),
    (
        re.compile(r"\b[A-CEGHJ-PR-TW-Z][A-CEGHJ-NPR-TW-Z] ?\d{2} ?\d{2} ?\d{2} ?[A-D]\b"),
        _gb_nino,
    ),
    (
        re.compile(r"\b[A-Za-z]{6}\w{2}[A-Za-z]\w{2}[A-Za-z]\w{3}[A-Za-z]\b"),
        _it_codice_fiscale,
    ),
    (re.compile(r"\b[XYZxyz\d]-?\d{7}-?[A-Za-z]\b"), _es_nif),
    (re.compile(r"\b[12] ?\d{2} ?\d{2} ?\d[\dAB] ?\d{3} ?\d{3} ?\d{2}\b"), _fr_nir),
    (re.compile(r"\b\d{3}\.\d{3}\.\d{3}-\d{2}\b"), _br_cpf),
)


def _national_ids(text: str) -> Iterator[Span]:
    for pattern, valid in _NATIONAL_IDS:
        for match in pattern.finditer(text):
            if valid(match.group()):
                yield Span(match.start(), match.end(), "ID")


def _phones(text: str, regions: Sequence[str]) -> Iterator[Span]:
    for match in _PHONE.finditer(text):
        value = match.group()
        if value[0] == "+":
            found = _phone_in(value, None)
        elif _GROUPED.search(value) or _announced(text, match.start()):
            found = next((s for r in regions if (s := _phone_in(value, r))), None)
        else:
            found = None
        if found is not None:
            yield Span(match.start() + found[0], match.start() + found[1], "PHONE")


def _phone_in(value: str, region: str | None) -> tuple[int, int] | None:
    """Where in ``value`` a valid number stands; without its country code, only in the groups
    that its country writes it in."""
    import phonenumbers

    leniency = phonenumbers.Leniency
    strict = leniency.VALID if region is None else leniency.STRICT_GROUPING
    for match in phonenumbers.PhoneNumberMatcher(value, region, leniency=strict):
        return match.start, match.end
    return None


def _announced(text: str, start: int) -> bool:
    before = text[max(0, start - _PHONE_WORD_REACH) : start]
    return _PHONE_WORD.search(before) is not None
