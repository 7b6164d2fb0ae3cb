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
COPY = Slot("copy", "new_path", "the file to save it under")
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
        (Slot("app", "name", "the program to open", False, "text editor"),),
        ("open mousepad", {"app": "mousepad"}),
        ("start the text editor", {"app": "text editor"}),
        ("launch the notepad application", {"app": "notepad"}),
        ("bring up an editor window", {"app": "editor"}),
        ("fire up Mousepad for me", {"app": "Mousepad"}),
        ("run the editor", {"app": "editor"}),
        ("get mousepad going", {"app": "mousepad"}),
        ("switch to the text editor", {"app": "text editor"}),
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
        ("go to the text file ideas.md using the editor", {"path": "ideas.md"}),
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
        ("in the editor, key in «ça va»", {"lines": "ça va"}),
        ("put the words 'to be done' into the open window", {"lines": "to be done"}),
        ("in the editor: input 3 < 4", {"lines": "3 < 4"}),
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
        ("in the editor, add another line: 'bread'", {"lines": "bread"}),
        ("type 'The End' below the last line", {"lines": "The End"}),
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
        ("in the editor, prepend 'Title'", {"lines": "Title"}),
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
        ("in the editor, save it as ~/notes/new.txt", {"path": "~/notes/new.txt"}),
        ("in the editor, store the result in out.txt", {"path": "out.txt"}),
        ("then save the file to ~/notes/final.md", {"path": "~/notes/final.md"}),
        ("save this as a new document draft.txt", {"path": "draft.txt"}),
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
        ("save", {}),
        ("in the editor, save it again", {}),
        ("in the editor, write the changes to disk", {}),
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
        (
            'start mousepad, enter "one" on the first line and "two" on the second line, then '
            "store the document under the name ~/notes/count.txt",
            {"lines": "one\ntwo", "path": "~/notes/count.txt"},
        ),
        (
            "make a new note in the text editor with the text Water at 9 and keep it as garden.txt",
            {"lines": "Water at 9", "path": "garden.txt"},
        ),
        (
            'note down "ring Ada" in mousepad, saving it under calls.txt',
            {"lines": "ring Ada", "path": "calls.txt"},
        ),
        (
            "save a document under quote.md in the editor which reads: «C'est la vie»",
            {"lines": "C'est la vie", "path": "quote.md"},
        ),
        (
            "I would like a text file ~/notes/a.txt, made in mousepad, with the content 'ä < ö'",
            {"lines": "ä < ö", "path": "~/notes/a.txt"},
        ),
        (
            "open a new editor window and type Good morning everyone and save the file as hi.txt",
            {"lines": "Good morning everyone", "path": "hi.txt"},
        ),
        (
            "type these three lines in mousepad: 'x', 'y' and 'z'. Afterwards save to xyz.txt.",
            {"lines": "x\ny\nz", "path": "xyz.txt"},
        ),
        (
            "put “Hello Zoë” into a new document, and save that to zoe.txt, using the text editor",
            {"lines": "Hello Zoë", "path": "zoe.txt"},
        ),
        (
            "use mousepad to produce poem.txt with these contents: roses are red",
            {"path": "poem.txt", "lines": "roses are red"},
        ),
        (
            'bring up the editor, put "a(b);" in there and save the whole thing under ~/notes/a.c',
            {"path": "~/notes/a.c", "lines": "a(b);"},
        ),
        (
            "Create the file cities.txt with mousepad. It should say 'Rome'.",
            {"lines": "Rome", "path": "cities.txt"},
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
        (
            "load the document list.md into the text editor, write “end of list” on a new last "
            "line, then save the changes",
            {"path": "list.md", "lines": "end of list"},
        ),
        (
            'add two more lines, "red" and "blue", at the bottom of colors.txt with mousepad',
            {"path": "colors.txt", "lines": "red\nblue"},
        ),
        (
            "There is a file plan.txt. Open it in the editor and extend it by the line: rest",
            {"path": "plan.txt", "lines": "rest"},
        ),
        (
            "type 'P.S. thanks' below the last line of letter.txt in mousepad and save it",
            {"path": "letter.txt", "lines": "P.S. thanks"},
        ),
        (
            "go to journal.txt in the editor, put 'slept well' after its last line, and don't "
            "forget to save",
            {"path": "journal.txt", "lines": "slept well"},
        ),
        (
            "add the line ok to the end of status.txt and save it",
            {"path": "status.txt", "lines": "ok"},
        ),
    ),
    _skill(
        "prepend_to_file",
        "Open a file in the editor, insert a line at its top, and save it",
        "write",
        (PATH, LINES),
        (
            "open recipe.txt in mousepad, insert the line 'Soup' at the top and save",
            {"path": "recipe.txt", "lines": "Soup"},
        ),
        (
            'in the text editor put "# To do" at the beginning of tasks.md and save the file',
            {"path": "tasks.md", "lines": "# To do"},
        ),
        (
            "use mousepad to add “Dear all,” as the first line of ~/notes/mail.txt",
            {"path": "~/notes/mail.txt", "lines": "Dear all,"},
        ),
        (
            "with the editor write the heading Chapter 1 above everything else in book.txt, "
            "then store it",
            {"path": "book.txt", "lines": "Chapter 1"},
        ),
        (
            "prepend 'v2' to notes.txt using the text editor",
            {"path": "notes.txt", "lines": "v2"},
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
        (
            "change the word 'old' to 'new' everywhere in names.txt, in the text editor",
            {"path": "names.txt", "find": "old", "replacement": "new"},
        ),
        (
            "load conf.txt into mousepad, substitute no with yes, then save it",
            {"path": "conf.txt", "find": "no", "replacement": "yes"},
        ),
        (
            'open shop.txt in the editor. Every "milk" should become "oat milk". Save the file.',
            {"path": "shop.txt", "find": "milk", "replacement": "oat milk"},
        ),
        (
            "in report.txt, correct the spelling of «recieve» to «receive» using mousepad",
            {"path": "report.txt", "find": "recieve", "replacement": "receive"},
        ),
    ),
    _skill(
        "delete_in_file",
        "Open a file in the editor, delete a word or phrase everywhere, and save it",
        "write",
        (PATH, OLD),
        (
            "open essay.txt in mousepad, delete the word 'really' and save",
            {"path": "essay.txt", "find": "really"},
        ),
        (
            "use the text editor to remove every “(tbd)” from ~/notes/plan.md",
            {"path": "~/notes/plan.md", "find": "(tbd)"},
        ),
        (
            "in the editor take 'just ' out of letter.txt and save the document",
            {"path": "letter.txt", "find": "just "},
        ),
        (
            "get rid of the word 'old ' in sign.txt with mousepad, then save the file",
            {"path": "sign.txt", "find": "old "},
        ),
        (
            'with mousepad erase all occurrences of "lorem" in text.txt, then store it',
            {"path": "text.txt", "find": "lorem"},
        ),
    ),
    _skill(
        "delete_line_in_file",
        "Open a file in the editor, delete a whole line of it, and save it",
        "write",
        (PATH, OLD),
        (
            "open shop.txt in mousepad, delete the line 'butter' and save",
            {"path": "shop.txt", "find": "butter"},
        ),
        (
            "use the editor to remove the line “old entry” from ~/notes/log.txt",
            {"path": "~/notes/log.txt", "find": "old entry"},
        ),
        (
            'with the text editor take the line that says "Bob" out of names.txt and save it',
            {"path": "names.txt", "find": "Bob"},
        ),
    ),
    _skill(
        "save_copy",
        "Open a file in the editor and save it under another name",
        "write",
        (PATH, COPY, OVERWRITE),
        (
            "open plan.txt in mousepad and save it as plan-2.txt",
            {"path": "plan.txt", "copy": "plan-2.txt"},
        ),
        (
            "load ~/notes/a.md into the editor, then store a copy of it under ~/notes/b.md",
            {"path": "~/notes/a.md", "copy": "~/notes/b.md"},
        ),
        (
            "use the text editor to save letter.txt under the new name letter-old.txt",
            {"path": "letter.txt", "copy": "letter-old.txt"},
        ),
    ),
    _skill(
        "read_file",
        "Open a file in the editor and tell what it says",
        "read",
        (PATH,),
        ("what does notes.txt say in mousepad?", {"path": "notes.txt"}),
        ("open letter.txt in the editor and read it to me", {"path": "letter.txt"}),
        (
            "tell me what is written in ~/notes/a.md, using the text editor",
            {"path": "~/notes/a.md"},
        ),
        ("look at memo.txt in mousepad and tell me its text", {"path": "memo.txt"}),
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
        ("in the editor, replace every 'Ann' with 'Eve'", {"find": "Ann", "replacement": "Eve"}),
        ("substitute “now” for “then”", {"find": "then", "replacement": "now"}),
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
        ("in the editor, erase the phrase «tout à fait»", {"find": "tout à fait"}),
        ("take 'very ' out of the text in the editor", {"find": "very "}),
        ('strip "(draft)" from the document', {"find": "(draft)"}),
    ),
    _skill(
        "delete_line",
        "Delete a whole line of the document that is open",
        "write",
        (OLD,),
        ("delete the line 'sugar' from the document", {"find": "sugar"}),
        ("remove the line that says “old stock”", {"find": "old stock"}),
        ("in the editor, take out the line 'beans'", {"find": "beans"}),
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
