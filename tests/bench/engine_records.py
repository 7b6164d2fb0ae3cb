"""Nested records with arrays and formats, and requests that ask for them in plain words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Record:
    """A record's schema, an example of it (text and value), and other texts that hold one."""

    id: str
    system: str
    schema: Mapping[str, Any]
    example: tuple[str, Mapping[str, Any]]
    requests: tuple[str, ...]


def _object(required: int | None = None, **properties: Any) -> dict[str, Any]:
    """An object whose first ``required`` properties must be there; all of them where None."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties)[:required],
        "additionalProperties": False,
    }


_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 1, "maximum": 1000}

RECORDS: tuple[Record, ...] = (
    Record(
        "order",
        "Write the order in the text as one JSON object. customer: the buyer's name and city. "
        "items: what is ordered, each with its quantity and its unit price in euros. delivery: "
        "the date of delivery as YYYY-MM-DD and whether it is express. Copy the words and the "
        "numbers of the text. Do not add items that the text does not name.",
        _object(
            customer=_object(name=_TEXT, city=_TEXT),
            items={
                "type": "array",
                "minItems": 1,
                "maxItems": 4,
                "items": _object(name=_TEXT, quantity=_COUNT, unit_price={"type": "number"}),
            },
            delivery=_object(
                date={"type": "string", "format": "date"}, express={"type": "boolean"}
            ),
        ),
        (
            "Ana Silva from Porto orders 3 desk lamps at 24.5 euros each and one chair at 89 "
            "euros, to be delivered on 2026-03-14 by express.",
            {
                "customer": {"name": "Ana Silva", "city": "Porto"},
                "items": [
                    {"name": "desk lamp", "quantity": 3, "unit_price": 24.5},
                    {"name": "chair", "quantity": 1, "unit_price": 89},
                ],
                "delivery": {"date": "2026-03-14", "express": True},
            },
        ),
        (
            "Jonas Weber from Leipzig orders 2 water kettles at 31.9 euros each, no express, "
            "delivery on 2026-05-02.",
            "Please send 12 notebooks at 2.4 euros and 5 pens at 1.1 euros to Mina Rossi in "
            "Turin by express on 2026-06-21.",
            "Order of Olga Nowak, Gdansk: one tent at 149 euros and 2 sleeping bags at 59.5 "
            "euros each. Delivery on 2026-07-09, not express.",
            "Tom Byrne of Cork wants 4 garden chairs at 45 euros each, express, on 2026-04-18.",
            "Lea Martin in Lyon buys 6 wine glasses at 7.25 euros and one carafe at 19 euros, "
            "normal delivery on 2026-08-30.",
        ),
    ),
    Record(
        "meeting",
        "Write the meeting in the text as one JSON object. title: its subject. start: the local "
        "date and time when it begins. minutes: how long it takes. attendees: everybody who is "
        "invited, each with a name and a role. room: the floor and the number of the room. Copy "
        "the words and the numbers of the text.",
        _object(
            title=_TEXT,
            start={"type": "string", "format": "date-time"},
            minutes={"type": "integer", "minimum": 5, "maximum": 480},
            attendees={
                "type": "array",
                "minItems": 1,
                "maxItems": 4,
                "items": _object(
                    name=_TEXT, role={"enum": ["chair", "speaker", "guest", "minutes"]}
                ),
            },
            room=_object(floor={"type": "integer"}, number=_TEXT),
        ),
        (
            "Budget review on 2026-02-03 at 09:30 for 45 minutes with Ines Kovac as chair and "
            "Paul Adler as speaker, room 4.12 on floor 4.",
            {
                "title": "Budget review",
                "start": "2026-02-03T09:30:00Z",
                "minutes": 45,
                "attendees": [
                    {"name": "Ines Kovac", "role": "chair"},
                    {"name": "Paul Adler", "role": "speaker"},
                ],
                "room": {"floor": 4, "number": "4.12"},
            },
        ),
        (
            "Release planning on 2026-03-11 at 14:00 for 60 minutes in room 2.07 on floor 2, "
            "chaired by Nora Lind, with Omar Haddad as guest.",
            "There will be a safety briefing on 2026-09-01 at 08:15, 30 minutes, floor 0, room "
            "0.03. Speaker is Jan Peeters.",
            "Design critique on 2026-04-22 at 16:45 for 90 minutes: Yuki Mori speaks, Carla "
            "Neri takes the minutes. Room 5.01, floor 5.",
            "Quarterly results, 2026-10-15 at 11:00, 120 minutes, room 7.20 on floor 7, chair "
            "Viktor Sand, speaker Emma Cole, guest Raj Patel.",
            "Invite Lucia Gil as chair to the hiring round on 2026-01-19 at 13:30 for 40 "
            "minutes in room 3.14 on floor 3.",
        ),
    ),
    Record(
        "patient_visit",
        "Write the visit in the text as one JSON object. patient: name and date of birth as "
        "YYYY-MM-DD. visit: the day as YYYY-MM-DD and the time as HH:MM:SS with an offset. "
        "findings: every finding, each with the part of the body and how severe it is. "
        "medicines: the names of the medicines. Copy the words and the numbers of the text.",
        _object(
            patient=_object(name=_TEXT, born={"type": "string", "format": "date"}),
            visit=_object(
                day={"type": "string", "format": "date"},
                time={"type": "string", "format": "time"},
            ),
            findings={
                "type": "array",
                "maxItems": 3,
                "items": _object(
                    part=_TEXT, finding=_TEXT, severity={"enum": ["mild", "moderate", "severe"]}
                ),
            },
            medicines={"type": "array", "maxItems": 3, "items": _TEXT},
        ),
        (
            "Greta Holm, born 1984-07-19, came on 2026-02-11 at 10:20. Left knee: moderate "
            "swelling. Ibuprofen.",
            {
                "patient": {"name": "Greta Holm", "born": "1984-07-19"},
                "visit": {"day": "2026-02-11", "time": "10:20:00Z"},
                "findings": [{"part": "left knee", "finding": "swelling", "severity": "moderate"}],
                "medicines": ["ibuprofen"],
            },
        ),
        (
            "Peter Lang, born 1959-12-02, was seen on 2026-03-04 at 08:40. Mild redness of the "
            "right eye. Eye drops.",
            "On 2026-05-27 at 15:10 Sofia Marin, born 2001-01-30, came with a severe burn on "
            "the left hand. Silver cream and paracetamol.",
            "Ahmed Noor, born 1977-08-08, visit on 2026-06-16 at 11:55: moderate pain in the "
            "lower back, mild numbness in the right foot. Naproxen.",
            "Visit of Clara Jung (born 1990-04-25) on 2026-07-01 at 09:05. Throat: mild "
            "inflammation. No medicines.",
            "Ivan Petrov, born 1968-10-13, 2026-09-22 at 17:30. Severe cough. Codeine and "
            "amoxicillin.",
        ),
    ),
)
