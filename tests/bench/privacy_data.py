"""Tasks with planted secrets and personal data, made up here; nothing is anybody's.

``LISTED``: formats that the redactor was written for. ``UNLISTED``: formats that it was not
written for, chosen before it was measured on them, and never tuned to. All values are drawn with
a seed, with check digits computed here, so that no code of the redactor vouches for itself.
"""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

Way = Literal["plan", "escalate", "repair"]
WAYS: tuple[Way, ...] = ("plan", "escalate", "repair")
"""How a task reaches the General: as a step to be planned, as one that the local model is not
sure of, or with the output of an action that failed (the plants are in that output)."""

BASE62 = string.ascii_letters + string.digits
BASE36 = string.ascii_lowercase + string.digits
URL64 = BASE62 + "-_"
HEX = "0123456789abcdef"
DIGITS = string.digits
UPPER = string.ascii_uppercase


@dataclass(frozen=True, slots=True)
class Plant:
    format: str
    text: str
    """The value in its surroundings, as somebody would write it."""
    value: str
    """What must not leave."""


@dataclass(frozen=True, slots=True)
class PrivateTask:
    way: Way
    text: str
    output: str
    """For ``repair``: what the failing action prints."""
    listed: tuple[Plant, ...]
    unlisted: tuple[Plant, ...]

    @property
    def marker(self) -> str:
        """The harmless beginning of what holds the plants: sent with them, and never redacted."""
        return (self.output or self.text)[:16]


class Draw:
    """Random characters and choices, with a seed."""

    def __init__(self, rng: random.Random) -> None:
        self.rng = rng

    def some(self, length: int, alphabet: str) -> str:
        return "".join(self.rng.choices(alphabet, k=length))

    def number(self, low: int, high: int) -> str:
        return str(self.rng.randint(low, high))

    def one(self, *options: str) -> str:
        return self.rng.choice(options)

    def password(self) -> str:
        signs = "!#%&*+-=?@^_~"
        return (
            self.one(*string.ascii_letters)
            + self.some(self.rng.randint(5, 12), BASE62 + signs)
            + self.one(*"23456789")
            + self.one(*BASE62)
        )


def luhn(digits: str) -> str:
    """``digits`` with the check digit that ISO/IEC 7812 asks for."""
    total = 0
    for i, digit in enumerate(reversed(digits)):
        number = int(digit) * (2 if i % 2 == 0 else 1)
        total += number - 9 if number > 9 else number
    return digits + str(-total % 10)


def iban(country: str, account: str) -> str:
    """With its check digits (ISO 13616: modulus 97)."""
    number = "".join(str(int(c, 36)) for c in account + country + "00")
    return f"{country}{98 - int(number) % 97:02d}{account}"


def spaced(text: str, size: int = 4, by: str = " ") -> str:
    return by.join(text[i : i + size] for i in range(0, len(text), size))


def german_account(d: Draw) -> str:
    return iban("DE", d.some(18, DIGITS))


def dutch_account(d: Draw) -> str:
    # Banks check the ten digits by weights too (the "elfproef").
    while True:
        digits = "0" + d.some(9, DIGITS)
        if sum(int(c) * (10 - i) for i, c in enumerate(digits)) % 11 == 0:
            return iban("NL", "ABNA" + digits)


def nif(d: Draw) -> str:
    number = d.some(8, DIGITS)
    return number + "TRWAGMYFPDXBNJZSQVHLCKE"[int(number) % 23]


def cpf(d: Draw) -> str:
    digits = d.some(9, DIGITS)
    for _ in range(2):
        rest = sum(int(c) * (len(digits) + 1 - i) for i, c in enumerate(digits)) * 10 % 11
        digits += str(rest % 10)
    return f"{digits[:3]}.{digits[3:6]}.{digits[6:9]}-{digits[9:]}"


def nir(d: Draw) -> str:
    number = f"{d.one('1', '2')}{d.number(40, 99)}{d.rng.randint(1, 12):02d}75"
    number += f"{d.number(100, 120)}{d.rng.randint(1, 999):03d}"
    return number + f"{97 - int(number) % 97:02d}"


def jwt(d: Draw) -> str:
    def part(body: Mapping[str, object]) -> str:
        return base64.urlsafe_b64encode(json.dumps(body).encode()).decode().rstrip("=")

    claims = {"sub": d.some(10, DIGITS), "name": d.some(8, BASE36), "iat": 1732312345}
    return f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims)}.{d.some(43, URL64[:-2])}"


def pem(d: Draw) -> str:
    lines = "\n".join(d.some(64, BASE62 + "+/") for _ in range(4))
    kind = d.one("RSA ", "EC ", "", "OPENSSH ")
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{lines}\n-----END {kind}PRIVATE KEY-----"


def octets(d: Draw) -> str:
    return f"{d.one('81', '93', '151', '185')}.{'.'.join(d.number(1, 250) for _ in range(3))}"


Format = tuple[str, Callable[[Draw], str]]
"""A frame with ``{}`` for the value, and what draws the value."""

LISTED: Mapping[str, Format] = {
    "password is": ("the password is {}", Draw.password),
    "password colon": ("login: ops, password: {} (change it)", Draw.password),
    "password for": ("the password for the guest wifi is {}", Draw.password),
    "password word": ("my password is {}", lambda d: d.one("sunshine", "Sommer", "blue-horse")),
    "pin": ("the PIN of the card is {}", lambda d: d.some(4, DIGITS)),
    "env": ('export DB_PASSWORD="{}"', Draw.password),
    "api key json": ('{{"api_key": "{}"}}', lambda d: d.some(32, BASE62)),
    "client secret": ("client_secret = {}", lambda d: d.some(24, BASE36) + "7"),
    "aws id": ("AWS key {}", lambda d: "AKIA" + d.some(16, UPPER + "234567")),
    "aws secret": ('aws_secret_access_key = "{}"', lambda d: d.some(40, BASE62 + "/+")),
    "github": ("clone with {}", lambda d: d.one("ghp_", "gho_", "ghs_") + d.some(36, BASE62)),
    "gitlab": ("CI uses {}", lambda d: "glpat-" + d.some(20, BASE62)),
    "slack": ("post with {}", lambda d: f"xoxb-{d.some(12, DIGITS)}-{d.some(24, BASE62)}"),
    "stripe": ("charge with {}", lambda d: "sk_live_" + d.some(24, BASE62)),
    "sendgrid": ("mail with {}", lambda d: f"SG.{d.some(22, URL64)}.{d.some(43, URL64)}"),
    "npm": ("//registry.npmjs.org/:_authToken=npm_{}", lambda d: d.some(36, BASE62)),
    "openai": ("ask with {}", lambda d: f"sk-{d.some(20, BASE62)}T3BlbkFJ{d.some(20, BASE62)}"),
    "telegram": ("the bot is {}", lambda d: f"{d.some(9, '123456789')}:{d.some(35, BASE62)}"),
    "twilio": ("call through {}", lambda d: "SK" + d.some(32, HEX)),
    "mailchimp": ("the list is at {}", lambda d: d.some(32, HEX) + "-us12"),
    "azure": ("AccountKey={}", lambda d: d.some(86, BASE62 + "+/") + "=="),
    "jwt": ("the session is {}", jwt),
    "basic auth": ("https://deploy:{}@git.example.org/shop", lambda d: d.some(12, BASE62)),
    "bearer": ("Authorization: Bearer {}", lambda d: d.some(36, BASE62) + "4"),
    "query": ("https://example.org/a?access_token={}&page=2", lambda d: d.some(20, BASE36) + "8"),
    "curl": ("curl -u admin:{} http://localhost:9200", lambda d: d.some(10, BASE62)),
    "option": ("mysqldump --password={} shop", Draw.password),
    "pem": ("the key:\n{}\n", pem),
    "hex": ("it answers to {}", lambda d: d.some(40, HEX)),
    "random": ("it answers to {}", lambda d: d.some(48, BASE62)),
    "email": ("ask {}", lambda d: f"{d.some(6, BASE36[:26])}.{d.some(5, BASE36[:26])}@example.org"),
    "phone +": ("call {}", lambda d: "+49 30 9018" + d.some(3, "123456789")),
    "phone + plain": ("call {}", lambda d: "+3314268" + d.some(4, DIGITS)),
    "phone us": ("call {}", lambda d: "(212) 736-" + d.some(4, DIGITS)),
    "phone gb": ("ring {}", lambda d: "020 7946 0" + d.some(3, DIGITS)),
    "phone in": ("text {}", lambda d: "+91 98765 " + d.some(5, DIGITS)),
    "iban": ("pay to {}", lambda d: spaced(german_account(d))),
    "iban plain": ("pay to {} by Friday", german_account),
    "iban nl": ("pay to {}", lambda d: spaced(dutch_account(d))),
    "card": ("charge {}", lambda d: spaced(luhn("4" + d.some(14, DIGITS)))),
    "card -": ("charge {}", lambda d: spaced(luhn("52" + d.some(13, DIGITS)), by="-")),
    "card plain": ("charge {}", lambda d: luhn("37" + d.some(12, DIGITS))),
    "ipv4": ("the client came from {}", octets),
    "ipv6": ("the client came from {}", lambda d: "2a02:9:" + spaced(d.some(24, HEX[1:]), 4, ":")),
    "ssn": ("her number is {}", lambda d: f"536-{d.number(10, 99)}-{d.number(1000, 9999)}"),
    "nino": ("insured as {}", lambda d: d.one("AB", "JK", "PX") + d.some(6, DIGITS) + "C"),
    "nif": ("the holder is {}", nif),
    "nir": ("the patient is {}", nir),
    "cpf": ("the buyer is {}", cpf),
}  # fmt: skip

SEED_WORDS = "anchor bamboo canyon dragon ember forest garden harbor island jungle kettle lemon"
WORDS = SEED_WORDS.split()

UNLISTED: Mapping[str, Format] = {
    "name": ("tell {} first", lambda d: d.one("Hartmut Weidenfeld", "Oona Kivelä", "Sade Abara")),
    "street": ("it ships to {}", lambda d: f"{d.number(2, 90)} Larkspur Lane, Wrexby"),
    "birth date": ("born on {}", lambda d: f"{d.number(1, 28)} March {d.number(1950, 2001)}"),
    "number plate": ("the van is {}", lambda d: f"B-{d.some(2, UPPER)} {d.some(4, '123456789')}"),
    "passport": ("passport {}", lambda d: "C0" + d.some(7, "CFGHJKLMNPRTVWXYZ0123456789")),
    "seed phrase": ("the wallet opens with {}", lambda d: " ".join(d.rng.sample(WORDS, 12))),
    "spoken code": ("the back door opens with {}", lambda d: d.some(4, DIGITS)),
    "spoken phrase": ("the safe opens when you say {}", lambda d: "-".join(d.rng.sample(WORDS, 3))),
    "spelled e-mail": ("write to {}", lambda d: f"{d.some(6, BASE36[:26])} at example dot org"),
    "handle": ("ping {} on the forum", lambda d: "@" + d.some(7, BASE36[:26])),
    "mac address": ("the laptop is {}", lambda d: spaced(d.some(12, HEX), 2, ":")),
    "coordinates": ("she lives at {}", lambda d: f"52.{d.some(5, DIGITS)}, 13.{d.some(5, DIGITS)}"),
    "ethereum": ("refund to {}", lambda d: "0x" + d.some(40, HEX)),
    "bitcoin": ("refund to {}", lambda d: "bc1q" + d.some(38, "023456789acdefghjklmnpqrstuvwxyz")),
    "uuid key": ("deploy with {}", lambda d: "-".join(d.some(n, HEX) for n in (8, 4, 4, 4, 12))),
    "licence key": ("register it with {}", lambda d: spaced(d.some(25, UPPER + DIGITS), 5, "-")),
    "totp seed": ("the authenticator uses {}", lambda d: d.some(16, UPPER + "234567")),
    "app password": ("the mail app uses {}", lambda d: spaced(d.some(16, BASE36[:26]))),
    "bcrypt": ("she is stored as {}", lambda d: "$2b$12$" + d.some(53, BASE62 + "./")),
    "hugging face": ("pull with {}", lambda d: "hf_" + d.some(34, string.ascii_letters)),
    "anthropic": ("ask with {}", lambda d: "sk-ant-api03-" + d.some(93, URL64) + "AA"),
    "google": ("geocode with {}", lambda d: "AIza" + d.some(35, URL64)),
    "digitalocean": ("scale with {}", lambda d: "dop_v1_" + d.some(64, HEX)),
    "shopify": ("sync with {}", lambda d: "shpat_" + d.some(32, HEX)),
    "vault": ("unseal with {}", lambda d: "hvs." + d.some(24, BASE62)),
    "age": ("decrypt with {}", lambda d: "AGE-SECRET-KEY-1" + d.some(58, UPPER + DIGITS)),
    "webhook": ("post to https://hooks.example.org/services/{}", lambda d: d.some(14, BASE62)),
    "national id dk": ("the citizen is {}", lambda d: f"{d.some(6, '1234')}-{d.some(4, DIGITS)}"),
    "account number": ("debit account {}", lambda d: d.some(9, "123456789")),
}  # fmt: skip

PLANS = (
    "Plan how to move our shop to the new server without losing orders; {}.",
    "Work out why the nightly sync keeps failing, and what to try first: {}.",
    "Compare three ways to give the new colleague access; {}. Recommend one.",
    "Draft a careful answer to the customer who was charged twice; {}.",
    "Think through the risks of rotating these credentials on a Friday: {}.",
    "Explain step by step how to recover the account. What I know: {}.",
    "Write a checklist for closing the old office by 2026-12-31; {}.",
    "Decide in which order the 14 hosts should be patched, given that {}.",
)
STEPS = (
    "Put this into notes.txt and archive it: {}",
    "Set it up on the second machine with this: {}",
    "Find every file that mentions this and move it to /srv/old: {}",
)
OUTPUTS = (
    "error: request refused (exit 22) while reading config.toml line 12:\n    {}",
    'Traceback (most recent call last):\n  File "sync.py", line 40, in push\nRuntimeError: {}',
    "2026-11-22 10:20:30 WARN retry 3/5 after 250 ms\n2026-11-22 10:20:31 FATAL {}",
)


def plant(name: str, format_: Format, draw: Draw) -> Plant:
    frame, make = format_
    value = make(draw)
    return Plant(name, frame.format(value), value)


def private_tasks(count: int, seed: int = 4) -> list[PrivateTask]:
    """``count`` tasks; each has one or two listed plants and one unlisted one, every format
    comes up equally often, and three in five go the way of a plan."""
    draw = Draw(random.Random(seed))
    listed, unlisted = list(LISTED.items()), list(UNLISTED.items())
    tasks = []
    for number in range(count):
        names = [listed[number % len(listed)]]
        if number % 2:
            names.append(listed[(number * 7 + 3) % len(listed)])
        known = tuple(plant(name, format_, draw) for name, format_ in names)
        strange = (plant(*unlisted[number % len(unlisted)], draw),)
        said = "; ".join(p.text for p in (*known, *strange))
        way = WAYS[0] if number % 5 < 3 else WAYS[number % 5 - 2]
        output = ""
        if way == "plan":
            text = PLANS[number % len(PLANS)].format(said)
        elif way == "escalate":
            text = STEPS[number % len(STEPS)].format(said)
        else:
            text = "show the files in this folder, largest first"
            output = OUTPUTS[number % len(OUTPUTS)].format(said)
        tasks.append(PrivateTask(way, text, output, known, strange))
    return tasks
