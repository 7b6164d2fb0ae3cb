"""What the GUI tool can do, as recipes: description, slots, and examples of requests.

The texts are what the encoder compares a request with, so they are worded as people ask.
Acting them out is in ``acts.py``, one function for each id.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.core import Risk
from runtime.tools.recipe import Example, Recipe, Slot

LINES = Slot("lines", "lines", "the text to type, kept exactly")
NEW_PATH = Slot("path", "new_path", "the file to save to")
PATH = Slot("path", "path", "the file to edit")
OLD = Slot("find", "text", "the text to look for")
NEW = Slot("replacement", "text", "the text to put in its place")
OVERWRITE = Slot("overwrite", "boolean", "whether a file that exists may be replaced", False, False)


def _skill(
    id_: str,
    does: str,
    risk: Risk,
    slots: tuple[Slot, ...],
    *examples: tuple[str, Mapping[str, Any]],
) -> Recipe:
    return Recipe(id_, "gui", does, slots, tuple(Example(t, a) for t, a in examples), risk)


SKILLS: tuple[Recipe, ...] = (
    _skill(
        "open_app",
        "Open a program with a window, such as the text editor",
        "read",
        (Slot("app", "name", "the program to open"),),
        ("open mousepad", {"app": "mousepad"}),
        ("start the text editor", {"app": "text editor"}),
        ("launch the notepad application", {"app": "notepad"}),
        ("bring up an editor window", {"app": "editor"}),
        ("fire up Mousepad for me", {"app": "Mousepad"}),
    ),
    _skill(
        "new_document",
        "Open a new, empty document in the editor",
        "write",
        (),
        ("start a new document", {}),
        ("open a blank page in the editor", {}),
        ("create an empty document in mousepad", {}),
        ("give me a fresh untitled tab", {}),
    ),
    _skill(
        "open_file",
        "Open a file in the text editor",
        "read",
        (Slot("path", "path", "the file to open"),),
        ("open notes.txt in mousepad", {"path": "notes.txt"}),
        ("load the file ~/notes/todo.md into the editor", {"path": "~/notes/todo.md"}),
        ("show me report.txt in a text editor", {"path": "report.txt"}),
        ("bring the document plan.txt up in the editor window", {"path": "plan.txt"}),
    ),
    _skill(
        "type_text",
        "Type text into the window in front, at the cursor",
        "write",
        (LINES,),
        ("type hello world", {"lines": "hello world"}),
        ("type 'if a < b: return é' into the editor", {"lines": "if a < b: return é"}),
        ("type two lines: red and blue", {"lines": "red\nblue"}),
        ('enter the text "Grüße aus Köln"', {"lines": "Grüße aus Köln"}),
        ("key in: first entry; second entry", {"lines": "first entry; second entry"}),
        ("in mousepad, write 'buy milk'", {"lines": "buy milk"}),
        (
            'type the lines "alpha <1>" and "beta" in the text editor',
            {"lines": "alpha <1>\nbeta"},
        ),
    ),
    _skill(
        "append_line",
        "Add a line at the end of the document that is open",
        "write",
        (LINES,),
        ("add a line at the end that says done", {"lines": "done"}),
        ('append "see you tomorrow" to the open document', {"lines": "see you tomorrow"}),
        ("put 'total: 42' on a new last line", {"lines": "total: 42"}),
        ("at the bottom of the document write Kind regards", {"lines": "Kind regards"}),
    ),
    _skill(
        "insert_first_line",
        "Insert a line at the very top of the document that is open",
        "write",
        (LINES,),
        ("insert a heading 'Shopping' at the top of the document", {"lines": "Shopping"}),
        ("put the line # Notes above everything else", {"lines": "# Notes"}),
        ('add "Dear Ann," as the first line', {"lines": "Dear Ann,"}),
        ("write DRAFT at the beginning of the text", {"lines": "DRAFT"}),
    ),
    _skill(
        "new_line",
        "Press Enter to start a new line",
        "write",
        (),
        ("start a new line", {}),
        ("press enter", {}),
        ("go to the next line", {}),
        ("insert a line break", {}),
    ),
    _skill(
        "save_as",
        "Save the open document under a file name",
        "write",
        (NEW_PATH, OVERWRITE),
        ("save it as notes.txt", {"path": "notes.txt"}),
        ("save the document to ~/notes/letter.txt", {"path": "~/notes/letter.txt"}),
        ("store this under the name draft-2.md", {"path": "draft-2.md"}),
        ("save as list.txt and overwrite it", {"path": "list.txt", "overwrite": True}),
        ("keep the text in a file called ideas.txt", {"path": "ideas.txt"}),
    ),
    _skill(
        "save",
        "Save the changes of the open document to its own file",
        "write",
        (),
        ("save the file", {}),
        ("save my changes", {}),
        ("save the document again", {}),
        ("store what was changed", {}),
    ),
    _skill(
        "write_file",
        "Type text in the editor and save it to a named file, all in one",
        "write",
        (LINES, NEW_PATH, OVERWRITE),
        (
            "in mousepad, type 'hello' and save it to greeting.txt",
            {"lines": "hello", "path": "greeting.txt"},
        ),
        (
            "write 'x = 1' into a file called ~/notes/n.txt using mousepad",
            {"lines": "x = 1", "path": "~/notes/n.txt"},
        ),
        (
            'open the text editor, type the lines "eggs" and "tea", and save as shop.txt',
            {"lines": "eggs\ntea", "path": "shop.txt"},
        ),
        (
            "use the editor to make a document memo.txt that says call Bob < 5 pm",
            {"lines": "call Bob < 5 pm", "path": "memo.txt"},
        ),
        (
            'with mousepad create wörter.txt containing "für" and "café" on two lines',
            {"lines": "für\ncafé", "path": "wörter.txt"},
        ),
        (
            "type 'v2' in the editor and save over version.txt",
            {"lines": "v2", "path": "version.txt", "overwrite": True},
        ),
    ),
    _skill(
        "append_to_file",
        "Open a file in the editor, add a line at its end, and save it",
        "write",
        (PATH, LINES),
        (
            "open todo.txt in mousepad, add the line 'water plants' and save",
            {"path": "todo.txt", "lines": "water plants"},
        ),
        (
            "using the editor append 'done' to ~/notes/log.txt",
            {"path": "~/notes/log.txt", "lines": "done"},
        ),
        (
            'add "Zoë" to the end of names.txt with the text editor',
            {"path": "names.txt", "lines": "Zoë"},
        ),
        (
            "in mousepad put one more line, total 9, at the bottom of sums.txt and save it",
            {"path": "sums.txt", "lines": "total 9"},
        ),
    ),
    _skill(
        "replace_in_file",
        "Open a file in the editor, replace a word everywhere, and save it",
        "write",
        (PATH, OLD, NEW),
        (
            "open letter.txt in mousepad, replace Anna with Eva and save",
            {"path": "letter.txt", "find": "Anna", "replacement": "Eva"},
        ),
        (
            "in the editor change every 'foo' in code.py to 'bar' and save the file",
            {"path": "code.py", "find": "foo", "replacement": "bar"},
        ),
        (
            "use mousepad to swap 2025 for 2026 in ~/notes/plan.txt",
            {"path": "~/notes/plan.txt", "find": "2025", "replacement": "2026"},
        ),
        (
            "with the text editor replace “draft” by “final” in note.md and store it",
            {"path": "note.md", "find": "draft", "replacement": "final"},
        ),
    ),
    _skill(
        "find_and_replace",
        "Replace a word everywhere in the document that is open",
        "write",
        (OLD, NEW),
        ("replace cat with dog", {"find": "cat", "replacement": "dog"}),
        (
            "change all occurrences of 'teh' to 'the' in the document",
            {"find": "teh", "replacement": "the"},
        ),
        ("swap every colour for color here", {"find": "colour", "replacement": "color"}),
        (
            'find "Mr." and put "Dr." in its place in the open text',
            {"find": "Mr.", "replacement": "Dr."},
        ),
    ),
    _skill(
        "delete_text",
        "Delete a word or phrase from the document that is open",
        "write",
        (OLD,),
        ("delete the word maybe from the document", {"find": "maybe"}),
        ("remove every 'TODO' from the open text", {"find": "TODO"}),
        ("take 'very ' out of the text in the editor", {"find": "very "}),
        ('strip "(draft)" from the document', {"find": "(draft)"}),
    ),
    _skill(
        "clear_document",
        "Delete everything in the document that is open",
        "write",
        (),
        ("clear the document", {}),
        ("delete all the text in the editor", {}),
        ("empty the page", {}),
        ("wipe everything that was typed", {}),
    ),
    _skill(
        "select_all",
        "Select everything in the document that is open",
        "read",
        (),
        ("select all", {}),
        ("select the whole text", {}),
        ("mark everything in the editor", {}),
        ("highlight the entire document", {}),
    ),
    _skill(
        "copy_all",
        "Copy the whole document to the clipboard",
        "read",
        (),
        ("copy the whole document", {}),
        ("copy everything to the clipboard", {}),
        ("put the text of the editor on the clipboard", {}),
        ("copy all of it", {}),
    ),
    _skill(
        "paste",
        "Paste the clipboard at the cursor",
        "write",
        (),
        ("paste", {}),
        ("paste the clipboard here", {}),
        ("insert what I copied", {}),
        ("put the clipboard's content into the document", {}),
    ),
    _skill(
        "undo",
        "Undo the last change in the editor",
        "write",
        (),
        ("undo", {}),
        ("undo the last change", {}),
        ("take back what was just typed", {}),
        ("revert the last edit", {}),
    ),
    _skill(
        "redo",
        "Redo the change that was just undone in the editor",
        "write",
        (),
        ("redo", {}),
        ("redo the change", {}),
        ("bring the undone edit back", {}),
        ("repeat what I just undid", {}),
    ),
    _skill(
        "read_document",
        "Tell what the document in the editor says, exactly",
        "read",
        (),
        ("what does the document say?", {}),
        ("read me the text in the editor", {}),
        ("what is written in mousepad right now", {}),
        ("give me the contents of the open document", {}),
    ),
    _skill(
        "read_screen",
        "Read all the text that is visible on the screen",
        "read",
        (),
        ("what is on the screen?", {}),
        ("read the screen", {}),
        ("what can you see in the window", {}),
        ("which buttons and menus are visible", {}),
    ),
    _skill(
        "list_windows",
        "List the windows that are open on the screen",
        "read",
        (),
        ("which windows are open?", {}),
        ("list the open windows", {}),
        ("what programs are on the screen", {}),
        ("show the window titles", {}),
    ),
    _skill(
        "click",
        "Click a button, menu or link by its label",
        "write",
        (Slot("label", "label", "the words on what is to be clicked"),),
        ("click the File menu", {"label": "File"}),
        ("press the Cancel button", {"label": "Cancel"}),
        ("click on Help", {"label": "Help"}),
        ("choose 'Select All' in the menu", {"label": "Select All"}),
        ("hit the button that says Replace", {"label": "Replace"}),
    ),
    _skill(
        "press_keys",
        "Press a key or keyboard shortcut",
        "write",
        (Slot("keys", "keys", "the key or shortcut"),),
        ("press ctrl+z", {"keys": "ctrl+z"}),
        ("hit escape", {"keys": "escape"}),
        ("use the shortcut Ctrl+Shift+S", {"keys": "ctrl+shift+s"}),
        ("press the F11 key", {"keys": "f11"}),
        ("send alt+f to the window", {"keys": "alt+f"}),
    ),
    _skill(
        "scroll",
        "Scroll the window in front up or down",
        "read",
        (
            Slot("direction", "choice", "which way", False, "down", ("up", "down")),
            Slot("amount", "integer", "wheel clicks", False, 5, minimum=1, maximum=100),
        ),
        ("scroll down", {"direction": "down"}),
        ("scroll up a little", {"direction": "up", "amount": 2}),
        ("scroll down by 10", {"direction": "down", "amount": 10}),
        ("move further up the page", {"direction": "up"}),
    ),
    _skill(
        "close_window",
        "Close the editor window",
        "write",
        (
            Slot(
                "unsaved",
                "choice",
                "what to do with unsaved changes",
                False,
                "keep",
                ("keep", "save", "discard"),
            ),
        ),
        ("close the editor", {}),
        ("close the window", {}),
        ("quit mousepad and save the changes", {"unsaved": "save"}),
        ("close it without saving", {"unsaved": "discard"}),
        ("exit the editor and discard my changes", {"unsaved": "discard"}),
    ),
)
BY_ID: Mapping[str, Recipe] = {skill.id: skill for skill in SKILLS}
