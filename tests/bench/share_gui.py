"""The GUI workload: documents in a text editor, as the case study's agent works in its programs."""
# fmt: off
# ruff: noqa: E501 - one task, one row

from __future__ import annotations

from typing import Any

from tests.bench.share_tasks import Act, Check, Level, ShareTask, both, holds, numbered, says

F = "{folder}/"


def _t(text: str, check: Check, *acts: Act, words: str = "", **files: str) -> dict[str, Any]:
    return {"text": text, "check": check, "acts": acts, "words": words,
            "files": {name.replace("__", "."): content for name, content in files.items()}}


def _new(text: str, name: str, content: str) -> dict[str, Any]:
    return _t(text, holds(**{name.replace(".", "__"): content}),
              Act("write_file", {"lines": content, "path": F + name}))


def _edit(text: str, name: str, before: str, after: str, act: Act) -> dict[str, Any]:
    key = name.replace(".", "__")
    arguments = {"path": F + name, **act.arguments}
    return _t(text, holds(**{key: after}), Act(act.recipe, arguments, act.about), **{key: before})


def _append(line: str, about: str = "") -> Act:
    return Act("append_to_file", {"lines": line}, about)


def _prepend(line: str, about: str = "") -> Act:
    return Act("prepend_to_file", {"lines": line}, about)


def _replace(old: str, new: str, about: str = "") -> Act:
    return Act("replace_in_file", {"find": old, "replacement": new}, about)


def _think(text: str, words: str, *facts: str, **files: str) -> dict[str, Any]:
    """A question about the work: right where the answer holds the facts."""
    return _t(text, says(*facts), words=words, **files)


def _rewrite(text: str, name: str, before: str, after: str) -> dict[str, Any]:
    key = name.replace(".", "__")
    act = Act("write_file", {"lines": after, "path": F + name, "overwrite": True})
    return _t(text, holds(**{key: after}), act, words=after, **{key: before})


def _twice(text: str, name: str, before: str, after: str, *acts: Act) -> dict[str, Any]:
    key = name.replace(".", "__")
    full = tuple(Act(a.recipe, {"path": F + name, **a.arguments}, a.about) for a in acts)
    return _t(text, holds(**{key: after}), *full, **{key: before})


ROUTINE = [
    _new("In mousepad, enter 'Tasting on the 3rd' and save it as {folder}/wine.txt", "wine.txt", "Tasting on the 3rd"),
    _new('Please open the text editor, type "Room 12 is booked" and store it under {folder}/room.txt', "room.txt", "Room 12 is booked"),
    _new("Make a document {folder}/motto.txt in mousepad that reads 'Slow is smooth'", "motto.txt", "Slow is smooth"),
    _new('type "load < 80 %" in the editor and save to {folder}/limit.txt', "limit.txt", "load < 80 %"),
    _new("Launch mousepad, put in the text «Größe: 42» and save the file as {folder}/shoe.txt", "shoe.txt", "Größe: 42"),
    _new("With the text editor, write the two lines 'pack tent' and 'fill bottles' and save them to {folder}/hike.txt", "hike.txt", "pack tent\nfill bottles"),
    _new('Use mousepad to write "version = 3" into a new file {folder}/app.ini', "app.ini", "version = 3"),
    _new("Open the editor, write 'Closed on Mondays', save as {folder}/sign.txt", "sign.txt", "Closed on Mondays"),
    _edit("Open {folder}/crew.txt in mousepad, add the line 'Noor' at the end and save it", "crew.txt", "Ivo\nLea\n", "Ivo\nLea\nNoor", _append("Noor")),
    _edit('In the text editor, add "17:30 dinner" to the end of {folder}/day.txt and save', "day.txt", "09:00 ferry\n", "09:00 ferry\n17:30 dinner", _append("17:30 dinner")),
    _edit("Append the line 'valve replaced' to {folder}/service.txt using mousepad, then save", "service.txt", "oil changed\n", "oil changed\nvalve replaced", _append("valve replaced")),
    _edit('With mousepad, put "see appendix B" as the last line of {folder}/memo.txt and save the file', "memo.txt", "Costs rose.\n", "Costs rose.\nsee appendix B", _append("see appendix B")),
    _edit("mousepad: open {folder}/birds.txt, add 'heron' on a new line at the bottom, save", "birds.txt", "gull\ntern\n", "gull\ntern\nheron", _append("heron")),
    _edit("Open {folder}/story.txt in the editor, insert the line 'Chapter One' at the top and save it", "story.txt", "It was dark.\n", "Chapter One\nIt was dark.", _prepend("Chapter One")),
    _edit('In mousepad, add "CONFIDENTIAL" as the first line of {folder}/offer.txt and save', "offer.txt", "We offer 5.\n", "CONFIDENTIAL\nWe offer 5.", _prepend("CONFIDENTIAL")),
    _edit("Put 'id,name' at the very top of {folder}/rows.csv with the text editor and save the file", "rows.csv", "1,Ada\n2,Bo\n", "id,name\n1,Ada\n2,Bo", _prepend("id,name")),
    _edit("Open {folder}/menu.txt in mousepad, replace 'rice' with 'barley' and save", "menu.txt", "rice soup\nrice cake\n", "barley soup\nbarley cake", _replace("rice", "barley")),
    _edit('In the text editor, change "north" to "south" in {folder}/route.txt and save it', "route.txt", "go north, then north\n", "go south, then south", _replace("north", "south")),
    _edit("Using mousepad, replace every 'Mr Lund' with 'Dr Lund' in {folder}/list.txt and save the document", "list.txt", "Mr Lund\nMs Hall\nMr Lund\n", "Dr Lund\nMs Hall\nDr Lund", _replace("Mr Lund", "Dr Lund")),
    _edit("Open {folder}/price.txt in the editor, swap 'EUR' for 'CHF' everywhere, save", "price.txt", "10 EUR, 20 EUR\n", "10 CHF, 20 CHF", _replace("EUR", "CHF")),
    _edit('mousepad: in {folder}/url.txt replace "http:" by "https:" and save', "url.txt", "http://a.example\n", "https://a.example", _replace("http:", "https:")),
    _edit("Open {folder}/claim.txt in mousepad, delete the word 'really ' and save the file", "claim.txt", "It is really safe.\n", "It is safe.", Act("delete_in_file", {"find": "really "})),
    _edit('In the text editor, remove "[draft]" from {folder}/title.txt and save', "title.txt", "[draft]Tides of March\n", "Tides of March", Act("delete_in_file", {"find": "[draft]"})),
    _edit("Remove the phrase ' (unpaid)' everywhere in {folder}/bills.txt with mousepad, then save", "bills.txt", "gas (unpaid)\nrent (unpaid)\n", "gas\nrent", Act("delete_in_file", {"find": " (unpaid)"})),
    _edit("Open {folder}/guests.txt in the editor, delete the line 'Otto' and save it", "guests.txt", "Mia\nOtto\nRuth\n", "Mia\nRuth", Act("delete_line_in_file", {"find": "Otto"})),
    _edit("In mousepad, take the line 'lamp' out of {folder}/stock.txt and save", "stock.txt", "chair\nlamp\ntable\n", "chair\ntable", Act("delete_line_in_file", {"find": "lamp"})),
    _t("Open {folder}/plan.txt in mousepad and save it as {folder}/plan-old.txt", both(holds(plan__txt="dig, pour, wait"), lambda s, f: (f / "plan-old.txt").is_file()),
       Act("save_copy", {"path": F + "plan.txt", "copy": F + "plan-old.txt"}), plan__txt="dig, pour, wait\n"),
    _t("With the editor, save a copy of {folder}/score.txt under the name {folder}/final.txt", holds(score__txt="3 : 1", final__txt="3 : 1"),
       Act("save_copy", {"path": F + "score.txt", "copy": F + "final.txt"}), score__txt="3 : 1\n"),
    _t("What does {folder}/door.txt say? Open it in mousepad.", says("Key is under the fern"), Act("read_file", {"path": F + "door.txt"}), door__txt="Key is under the fern\n"),
    _t("Open {folder}/code.txt in the text editor and tell me what it says", says("9-4-1-7"), Act("read_file", {"path": F + "code.txt"}), code__txt="9-4-1-7\n"),
]

SEVERAL = [
    _twice("Open {folder}/trip.txt in mousepad, replace 'bus' with 'train', add the line 'bring snacks' at the end and save", "trip.txt", "bus at 8\n", "train at 8\nbring snacks",
           _replace("bus", "train", "bus"), _append("bring snacks", "snacks")),
    _twice("In the text editor open {folder}/log.txt, insert 'LOG 2026' at the top, then add 'end of log' at the bottom and save it", "log.txt", "pump on\n", "LOG 2026\npump on\nend of log",
           _prepend("LOG 2026", "log 2026"), _append("end of log", "end of log")),
    _twice("Open {folder}/cast.txt with mousepad, delete the line 'Horatio', replace 'Ophelia' with 'Desdemona' and save the file", "cast.txt", "Ophelia\nHoratio\nIago\n", "Desdemona\nIago",
           Act("delete_line_in_file", {"find": "Horatio"}, "horatio"), _replace("Ophelia", "Desdemona", "ophelia")),
    _t("In mousepad write 'first note' and save it as {folder}/one.txt. Then write 'second note' in a new document and save it as {folder}/two.txt.", holds(one__txt="first note", two__txt="second note"),
       Act("write_file", {"lines": "first note", "path": F + "one.txt"}, "first note"), Act("write_file", {"lines": "second note", "path": F + "two.txt"}, "second note")),
    _twice("mousepad: open {folder}/soil.txt, change 'acid' to 'alkaline', change 'wet' to 'dry', save", "soil.txt", "acid and wet\n", "alkaline and dry",
           _replace("acid", "alkaline", "acid"), _replace("wet", "dry", "wet")),
    _twice("Open {folder}/shop.txt in the editor, add the line 'figs' at the end, remove the line 'soap', and save the document", "shop.txt", "soap\nbread\n", "bread\nfigs",
           _append("figs", "figs"), Act("delete_line_in_file", {"find": "soap"}, "soap")),
    _t("In the editor, make {folder}/a.txt with the text 'alpha', and after that append 'omega' to {folder}/z.txt and save", holds(a__txt="alpha", z__txt="psi\nomega"),
       Act("write_file", {"lines": "alpha", "path": F + "a.txt"}, "alpha"), Act("append_to_file", {"path": F + "z.txt", "lines": "omega"}, "omega"), z__txt="psi\n"),
    _t("Open {folder}/base.txt in mousepad, save it as {folder}/copy.txt, and then replace 'red' with 'blue' in {folder}/copy.txt and save", holds(base__txt="red door", copy__txt="blue door"),
       Act("save_copy", {"path": F + "base.txt", "copy": F + "copy.txt"}, "save it as"), Act("replace_in_file", {"path": F + "copy.txt", "find": "red", "replacement": "blue"}, "red"), base__txt="red door\n"),
    _twice("With mousepad open {folder}/poem.txt, put 'Autumn' on the first line, delete the word 'oh ' and save", "poem.txt", "oh leaf, oh wind\n", "Autumn\nleaf, wind",
           _prepend("Autumn", "autumn"), Act("delete_in_file", {"find": "oh "}, "oh")),
    _twice("Using the text editor, add 'Ines' and then 'Karl' as new lines at the end of {folder}/team.txt and save it", "team.txt", "Ana\n", "Ana\nInes\nKarl", _append("Ines", "ines"), _append("Karl", "karl")),
]

HARD = [
    _think("The save dialog in the editor says 'Permission denied'. Work out what could cause it and plan what to try next, safest first.", "First save a copy in your home folder, then check the file's owner and permissions, and only then ask for rights.", "home folder", "permissions"),
    _think("Decide whether a table of 4,000 rows should be edited in a text editor or a spreadsheet, and justify the choice", "A spreadsheet: it sorts and checks columns, which an editor does not.", "spreadsheet", "sorts"),
    _think("I clicked Save and the asterisk in the window title is still there. Reason about whether my work was saved and how to make sure.", "The asterisk marks unsaved changes, so it was not saved; save under another name and compare.", "not saved", "another name"),
    _think("Plan how to restructure a 60 page manual into chapters using only a text editor, with a fallback for each stage", "Outline first, then cut one chapter at a time into its own file, keeping the original as the fallback.", "outline", "fallback"),
    _think("Think through why find and replace of 'cat' with 'dog' ruined the word 'education' in my essay, and how I should have done it", "The match was inside the word; ask for whole words only.", "whole words"),
    _think("Compare three ways to keep notes from several meetings in sync between two editors, and recommend one with reasons", "One shared file under version control beats copies by mail or two-way sync.", "version control"),
    _think("After the update the editor opens every file read-only. Diagnose this step by step and tell me which hypothesis to test first.", "Test first whether a new file elsewhere is also read-only: that separates the profile from the folder.", "profile", "folder"),
    _think("Come up with a strategy to proofread a legal contract in an editor without a grammar checker", "Read it backwards by clause, then search for each defined term, then read it aloud.", "defined term", "aloud"),
    _think("Explain what the trade-offs are between recording a macro and writing a script for repetitive edits in documents", "A macro is quick but breaks when the layout moves; a script takes longer and can be tested.", "macro", "tested"),
    _think("My colleague's changes vanished after I saved. Infer the most likely sequence of events and how we avoid it next time.", "You had opened the file before the colleague saved, and wrote the older text over it; lock the file.", "older text", "lock"),
    _think("Design a folder and naming scheme for drafts so that two editors never overwrite one another", "Name drafts by date and initials, and let one person own the final file.", "initials", "final"),
    _think("The dialog asks 'Replace, Merge or Cancel?' and I have edited both copies. Which should I choose and why?", "Cancel: replacing loses one copy, so compare both first.", "cancel", "compare"),
    _think("Given that the program froze while I was typing a letter, what is the best order of actions to lose the least text?", "Wait, look for the recovery file, and only then end the program.", "recovery file"),
    _think("Judge whether this opening is convincing and what argument it lacks: 'Our town needs a pool because pools are nice.'", "It is not convincing: it gives no need, cost or number of users.", "not convincing", "cost"),
    _think("Figure out how the headings of a report should be reordered so that the argument builds up: Results, Summary, Methods, Question", "Question, Methods, Results, Summary.", "Question, Methods, Results, Summary"),
    _think("Evaluate the risk of editing a live configuration file in a text editor on a Friday evening and propose mitigations", "A typing error takes the service down with nobody there: copy it, validate it, and wait for Monday.", "validate", "monday"),
    _rewrite("Open {folder}/mail.txt in mousepad, rewrite it so that it is polite, and save it", "mail.txt", "Send the money now.\n", "Could you please send the payment soon?"),
    _rewrite("In the text editor, translate {folder}/greet.txt from German to English and save the file", "greet.txt", "Guten Morgen, liebe Gäste\n", "Good morning, dear guests"),
    _rewrite("Open {folder}/sum.txt in mousepad, work out the total of the amounts and put the file's text as 'total: N' with the right N, then save", "sum.txt", "12\n30\n8\n", "total: 50"),
    _rewrite("Summarise {folder}/long.txt to a single sentence in the editor and save it over the old text", "long.txt", "It rained. The match was called off. Fans went home.\n", "Rain called the match off and fans went home."),
]

_TASKS: dict[Level, list[dict[str, Any]]] = {"routine": ROUTINE, "several": SEVERAL, "hard": HARD}
GUI: tuple[ShareTask, ...] = numbered("gui", _TASKS)
