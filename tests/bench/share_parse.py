"""The command-parsing workload: words to one call, and messages by a template, with dialogue."""
# fmt: off
# ruff: noqa: E501 - one task, one row

from __future__ import annotations

from typing import Any

from tests.bench.share_tasks import Act, Level, ShareTask, calls, is_text, numbered, says


def _call(request: str, recipe: str, /, **arguments: Any) -> dict[str, Any]:
    act = Act(recipe, arguments)
    return {"text": request, "check": calls(act), "acts": (act,)}


def _either(task: dict[str, Any], **arguments: Any) -> dict[str, Any]:
    """The same call with these arguments is right too."""
    (act,) = task["acts"]
    first, second = task["check"], calls(Act(act.recipe, arguments))
    return {**task, "check": lambda summary, folder: first(summary, folder) or second(summary, folder)}


def _calls(text: str, *acts: Act) -> dict[str, Any]:
    return {"text": text, "check": calls(*acts), "acts": acts}


def _a(recipe: str, about: str, /, **arguments: Any) -> Act:
    return Act(recipe, arguments, about)


def _filled(text: str, template: str, wanted: str) -> dict[str, Any]:
    return {"text": text, "template": template, "check": is_text(wanted), "words": wanted}


def _think(text: str, words: str, *facts: str) -> dict[str, Any]:
    return {"text": text, "check": says(*facts), "words": words}


ROUTINE = [
    _call("Remind me on Wednesday at 10 am to renew the lease", "create_reminder", text="renew the lease", when="2026-11-25T10:00:00"),
    _call("remind me tomorrow at 18:15 to pick up Nils", "create_reminder", text="pick up Nils", when="2026-11-23T18:15:00"),
    _call("I need a reminder in 45 minutes to move the car", "create_reminder", text="move the car", when="2026-11-22T15:45:00"),
    _call("Set a reminder for December 12 at 8 am: order the tree", "create_reminder", text="order the tree", when="2026-12-12T08:00:00"),
    _call("Put a visit to the museum in my calendar for Saturday at 11 am", "create_event", title="visit to the museum", start="2026-11-28T11:00:00"),
    _call("Schedule a 30 minute call with Petra tomorrow at 4 pm", "create_event", title="call with Petra", start="2026-11-23T16:00:00", duration_minutes=30),
    _call("add 'Yoga' to the calendar on Tuesday at 7 pm for one hour", "create_event", title="Yoga", start="2026-11-24T19:00:00", duration_minutes=60),
    _call("Start a timer for 8 minutes", "set_timer", minutes=8),
    _call("timer 20 minutes for the bread", "set_timer", minutes=20, label="bread"),
    _call("count down three quarters of an hour", "set_timer", minutes=45),
    _call("Text Milan that the bus is late", "send_message", recipient="Milan", text="the bus is late"),
    _call("Send Aunt Rosa a message saying thank you for the cake", "send_message", recipient="Aunt Rosa", text="thank you for the cake"),
    _call("message Keiko: I have the tickets", "send_message", recipient="Keiko", text="I have the tickets"),
    _call("let Jonas know that dinner is ready", "send_message", recipient="Jonas", text="dinner is ready"),
    _call("Add lentils to the shopping list", "add_to_list", item="lentils", list="shopping"),
    _call("put rain jacket on my packing list", "add_to_list", item="rain jacket", list="packing"),
    _call("add 'file the tax return' to my todo list", "add_to_list", item="file the tax return", list="todo"),
    _call("Turn off the light in the kitchen", "set_light", room="kitchen", state="off"),
    _call("switch the hall light on please", "set_light", room="hall", state="on"),
    _call("dim the living room light to 35 percent", "set_light", room="living room", state="on", brightness=35),
    _either(_call("Play something by Nina Simone", "play_music", query="Nina Simone"), query="something by Nina Simone"),
    _call("put on the song Clair de Lune", "play_music", query="Clair de Lune"),
    _call("What's the weather in Turin tomorrow?", "get_weather", city="Turin", day="tomorrow"),
    _call("is it raining in Cork today", "get_weather", city="Cork", day="today"),
    _filled("Fill in the confirmation for Ms Okafor: table for 4 at 19:30", "Dear {name}, we confirm your table for {guests} at {time}.", "Dear Ms Okafor, we confirm your table for 4 at 19:30."),
    _filled("Fill the template: parcel 7731 for Deniz is at locker 12", "Hello {name}, parcel {parcel} waits in locker {locker}.", "Hello Deniz, parcel 7731 waits in locker 12."),
    _filled("Format as a shipping notice: customer Ada Brandt, order 55-A, carrier Postex", "{customer}: order {order} left with {carrier}.", "Ada Brandt: order 55-A left with Postex."),
    _filled("Turn this into the reminder text: patient Lee Wong, doctor Haas, room 3", "{patient}, Dr {doctor} expects you in room {room}.", "Lee Wong, Dr Haas expects you in room 3."),
    _filled("Write the invoice line from this: item desk, quantity 2, price 180 EUR", "{quantity} x {item} at {price}", "2 x desk at 180 EUR"),
    _filled("Use the template for the ticket: user vega, host db-3, error disk full", "[{host}] {error} (reported by {user})", "[db-3] disk full (reported by vega)"),
]

SEVERAL = [
    _calls("Turn off the kitchen light and start a timer for 10 minutes", _a("set_light", "light", room="kitchen", state="off"), _a("set_timer", "timer", minutes=10)),
    _calls("Add olives to the shopping list, then text Vera that I will cook", _a("add_to_list", "olives", item="olives", list="shopping"), _a("send_message", "cook", recipient="Vera", text="I will cook")),
    _calls("Remind me tomorrow at 7 am to water the plants, and turn on the bedroom light", _a("create_reminder", "plants", text="water the plants", when="2026-11-23T07:00:00"), _a("set_light", "bedroom", room="bedroom", state="on")),
    _calls("Check the weather in Bergen tomorrow and then add umbrella to my packing list", _a("get_weather", "bergen", city="Bergen", day="tomorrow"), _a("add_to_list", "umbrella", item="umbrella", list="packing")),
    _calls("Put 'Choir' in the calendar on Thursday at 8 pm. Then tell Paul: choir is on.", _a("create_event", "calendar", title="Choir", start="2026-11-26T20:00:00"), _a("send_message", "choir is on", recipient="Paul", text="choir is on")),
    _calls("add salt to the shopping list and add candles to the shopping list", _a("add_to_list", "salt", item="salt", list="shopping"), _a("add_to_list", "candles", item="candles", list="shopping")),
    _calls("Switch off the hall light, dim the bedroom light to 10 percent and play Erik Satie", _a("set_light", "hall", room="hall", state="off"), _a("set_light", "bedroom", room="bedroom", state="on", brightness=10), _a("play_music", "play", query="Erik Satie")),
    _calls("Start a 5 minute timer for the tea, then remind me at 16:30 to call the bank", _a("set_timer", "tea", minutes=5, label="tea"), _a("create_reminder", "bank", text="call the bank", when="2026-11-22T16:30:00")),
    _calls("Text Ida 'happy new home' and text Sven 'see you at nine'", _a("send_message", "happy", recipient="Ida", text="happy new home"), _a("send_message", "nine", recipient="Sven", text="see you at nine")),
    _calls("What is the weather in Graz today, and what is it in Porto tomorrow?", _a("get_weather", "graz", city="Graz", day="today"), _a("get_weather", "porto", city="Porto", day="tomorrow")),
]

HARD = [
    _think("A customer writes that the lamp arrived broken for the second time. Decide what we should offer and explain why.", "A refund and a voucher, since a third delivery would risk the customer.", "refund", "voucher"),
    _think("Which of my two job offers should I take: less pay and a short way, or more pay and two hours of travel a day?", "The short way, unless the pay is a fifth higher: ten hours a week are worth that.", "ten hours"),
    _think("Plan a week of dinners for a family with a coeliac child and a vegetarian father", "Rice, potato and polenta dishes with beans or eggs, all without gluten.", "gluten"),
    _think("Work out how to tell a loyal client that prices go up by 12 percent without losing them", "Tell them early and in person, with the reason and a fixed price for this year.", "early", "reason"),
    _think("We were asked three contradictory things in one mail. Reason about what the sender really wants.", "They want to be done by Friday; the rest is negotiable, so ask about the date first.", "friday"),
    _think("Advise me how to handle an interview in which they ask why I left after two months", "Say plainly that the role was another one than described, and what you learned.", "plainly"),
    _think("Compare the pros and cons of answering complaints by phone or in writing, and suggest a rule", "Phone for anger, writing for facts and anything with money.", "phone for anger"),
    _think("Draft an argument that convinces the board to keep the small library open", "It costs less than one crossing guard and serves 300 children a week.", "300 children"),
    _think("My flight lands at 14:10, the border takes about 40 minutes and the train leaves at 15:05 from a station 25 minutes away. Will I make it?", "No: 14:10 plus 65 minutes is 15:15, ten minutes too late.", "15:15"),
    _think("Summarise what our support conversations of this month have in common and infer the root cause", "Most are about the new login, so the root cause is the forced change of password.", "login", "password"),
    _think("Come up with a conversation flow for a shop that sells used bicycles, with what to ask when", "Ask for height, use and budget, in this order, and show three bicycles.", "height", "budget"),
    _think("The user said yes, then no, then maybe to the same offer. What should the assistant say next, and why?", "Ask which part made them doubt: another offer would only add to it.", "doubt"),
    _think("Evaluate whether this apology is enough: 'We are sorry if you felt bad.'", "It is not enough: it blames the feeling and promises nothing.", "not enough"),
    _think("Think of a fair way to share the holidays among seven colleagues of whom three have school children", "Those with children choose first in school holidays and last in the rest.", "choose first"),
    _think("Why do so many customers leave at the address form, and what would you try first?", "It asks for too much too early; try to ask for the postcode alone first.", "postcode"),
    _think("Negotiate a later deadline for me: think about what the other side fears and what I can give", "They fear the launch; give them a part of it on the old date.", "launch"),
    {"text": "Remind me two days before my rent, which is due on the first of December, at nine in the morning to pay it",
     "check": calls(Act("create_reminder", {"text": "pay rent", "when": "2026-11-29T09:00:00"})), "acts": (Act("create_reminder", {"text": "pay rent", "when": "2026-11-29T09:00:00"}),)},
    _call("Set a timer that is long enough for two batches of cookies of 12 minutes each plus 3 minutes between them", "set_timer", minutes=27),
    _call("Text my landlord Mr Voss something firm but friendly about the heating that has not worked since Monday", "send_message", recipient="Mr Voss", text="The heating has been off since Monday. Please have it repaired this week. Thank you!"),
    _call("We are five people and everyone eats two rolls: put the right number of rolls on the shopping list", "add_to_list", item="10 rolls", list="shopping"),
]

_TASKS: dict[Level, list[dict[str, Any]]] = {"routine": ROUTINE, "several": SEVERAL, "hard": HARD}
PARSE: tuple[ShareTask, ...] = numbered("parse", _TASKS)
