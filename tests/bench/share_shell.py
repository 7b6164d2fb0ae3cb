"""The terminal workload: files, text and the machine, as the case study's agent works in a shell."""
# fmt: off
# ruff: noqa: E501 - one task, one row

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.bench.share_tasks import (
    Act,
    Check,
    Level,
    ShareTask,
    both,
    entries,
    holds,
    number,
    numbered,
    says,
)

F = "{folder}/"
YARD: Mapping[str, str] = {
    "fleet.csv": "van,3\nbike,12\ntruck,2\n",
    "visits.log": "10:02 OK /home\n10:05 FAIL /pay\n10:09 OK /pay\n10:11 FAIL /pay\n10:30 OK /home\n",
    "poem.txt": "the sea the sky\nthe long way home\n",
    "towns.txt": "Ulm\nAal\nGent\nUlm\n",
    "lab/run.py": "import math\nprint(math.pi)\n",
    "lab/fit.py": "def fit():\n    return None  # FIXME\n",
    "lab/notes.md": "# Lab\nkeep cold\n",
    "lab/raw/one.dat": "7" * 3000,
    "lab/raw/two.dat": "8" * 900,
    "blank.txt": "",
}


def _t(text: str, check: Check, *acts: Act, words: str = "", files: Mapping[str, str] = YARD) -> dict[str, Any]:
    return {"text": text, "check": check, "acts": acts, "words": words, "files": files}


def _a(recipe: str, /, about: str = "", **arguments: Any) -> Act:
    return Act(recipe, arguments, about)


def _think(text: str, words: str, *facts: str) -> dict[str, Any]:
    return _t(text, says(*facts), words=words)


def _still(name: str) -> Check:
    return lambda summary, folder: (folder / name).exists()


def _gone(name: str) -> Check:
    return lambda summary, folder: not (folder / name).exists()


def _in_order(*parts: str) -> Check:
    def check(summary: Mapping[str, Any], folder: Any) -> bool:
        text = str(summary["answer"])
        places = [text.find(part) for part in parts]
        return -1 not in places and places == sorted(places)

    return check


ROUTINE = [
    _t("How many lines are in {folder}/visits.log?", number(5), _a("count_lines", file=F + "visits.log")),
    _t("count the words of {folder}/poem.txt", number(8), _a("count_words", file=F + "poem.txt")),
    _t("What is the largest file under {folder}?", says("one.dat", but=["two.dat"]), _a("largest_files", folder=F, count=1)),
    _t("which files in {folder} contain FIXME?", says("fit.py", but=["run.py"]), _a("files_containing", folder=F, pattern="FIXME")),
    _t("Show the lines of {folder}/visits.log that contain FAIL", says("10:05", "10:11", but=["10:02"]), _a("matching_lines", file=F + "visits.log", pattern="FAIL")),
    _t("How many lines of {folder}/visits.log contain OK?", number(3), _a("count_matching_lines", file=F + "visits.log", pattern="OK")),
    _t("list all py files under {folder}", says("run.py", "fit.py", but=["notes.md"]), _a("files_by_extension", folder=F, extension="py")),
    _t("show the first 2 lines of {folder}/towns.txt", says("Ulm", "Aal", but=["Gent"]), _a("first_lines", file=F + "towns.txt", count=2)),
    _t("Print the last line of {folder}/fleet.csv", says("truck", but=["bike"]), _a("last_lines", file=F + "fleet.csv", count=1)),
    _t("Which files under {folder} are bigger than 2 KB?", says("one.dat", but=["two.dat"]), _a("files_bigger_than", folder=F, size=2048)),
    _t("Are there empty files in {folder}? Which ones?", says("blank.txt", but=["poem.txt"]), _a("empty_files", folder=F)),
    _t("how big is {folder}/lab/raw/two.dat in bytes?", number(900), _a("file_size", file=F + "lab/raw/two.dat")),
    _t("md5 of {folder}/blank.txt", says("d41d8cd98f00b204e9800998ecf8427e"), _a("checksum", file=F + "blank.txt", algorithm="md5")),
    _t("Sort the lines of {folder}/towns.txt", _in_order("Aal", "Gent", "Ulm"), _a("sort_lines", file=F + "towns.txt")),
    _t("how many unique lines does {folder}/towns.txt have", number(3), _a("count_unique_lines", file=F + "towns.txt")),
    _t("Show the second column of {folder}/fleet.csv", says("3", "12", "2", but=["van"]), _a("show_column", file=F + "fleet.csv", column=2)),
    _t("What is on line 2 of {folder}/poem.txt?", says("the long way home", but=["sky"]), _a("line_number", file=F + "poem.txt", line=2)),
    _t("Compare {folder}/towns.txt and {folder}/poem.txt: are the two files identical?", says("differ"), _a("same_files", first=F + "towns.txt", second=F + "poem.txt")),
    _t("What kind of file is {folder}/lab/notes.md?", says("text"), _a("file_type", file=F + "lab/notes.md")),
    _t("make a folder {folder}/spring", both(entries("spring/")), _a("make_folder", folder=F + "spring"), files={}),
    _t("Create an empty file called {folder}/flag.txt", entries("flag.txt"), _a("make_file", file=F + "flag.txt"), files={}),
    _t("copy {folder}/poem.txt to {folder}/poem-2.txt", both(_still("poem.txt"), holds(**{"poem-2__txt": "the sea the sky\nthe long way home"})), _a("copy", source=F + "poem.txt", destination=F + "poem-2.txt")),
    _t("Rename {folder}/towns.txt to {folder}/cities.txt", both(_gone("towns.txt"), _still("cities.txt")), _a("rename", source=F + "towns.txt", destination=F + "cities.txt")),
    _t("move {folder}/fleet.csv into {folder}/lab", both(_gone("fleet.csv"), _still("lab/fleet.csv")), _a("move", source=F + "fleet.csv", destination=F + "lab")),
    _t("pack the folder {folder}/lab into {folder}/lab.tar.gz", both(_still("lab.tar.gz"), _still("lab/run.py")), _a("create_archive", source=F + "lab", archive=F + "lab.tar.gz")),
    _t('write "salt, oil, yeast" to {folder}/bread.txt on the command line', holds(bread__txt="salt, oil, yeast"), _a("write_text", text="salt, oil, yeast", file=F + "bread.txt")),
    _t("in the shell, append the line 'Brno' to {folder}/towns.txt", holds(towns__txt="Ulm\nAal\nGent\nUlm\nBrno"), _a("append_text", text="Brno", file=F + "towns.txt")),
    _t("replace Ulm with Bonn in {folder}/towns.txt with a shell command", holds(towns__txt="Bonn\nAal\nGent\nBonn"), _a("replace_text", file=F + "towns.txt", old="Ulm", new="Bonn")),
    _t("make {folder}/lab/run.py executable", lambda s, f: bool((f / "lab/run.py").stat().st_mode & 0o100), _a("make_executable", file=F + "lab/run.py")),
    _t("how many files are in {folder} and its subfolders?", number(10), _a("count_files", folder=F)),
]

SEVERAL = [
    _t("Create the folder {folder}/out and then copy {folder}/poem.txt into it", both(_still("out/poem.txt"), _still("poem.txt")), _a("make_folder", "create", folder=F + "out"), _a("copy", "copy", source=F + "poem.txt", destination=F + "out/poem.txt")),
    _t("Count the lines of {folder}/visits.log, then count the words of {folder}/poem.txt", lambda s, f: s["answer"] == [5, 8], _a("count_lines", "lines", file=F + "visits.log"), _a("count_words", "words", file=F + "poem.txt")),
    _t("rename {folder}/poem.txt to {folder}/verse.txt, then move it into {folder}/lab", both(_gone("poem.txt"), _gone("verse.txt"), _still("lab/verse.txt")), _a("rename", "rename", source=F + "poem.txt", destination=F + "verse.txt"), _a("move", "move", source=F + "verse.txt", destination=F + "lab")),
    _t("Show the first line of {folder}/towns.txt and the last line of {folder}/fleet.csv", says("Ulm", "truck", but=["Gent", "bike"]), _a("first_lines", "first", file=F + "towns.txt", count=1), _a("last_lines", "last", file=F + "fleet.csv", count=1)),
    _t("Make a directory {folder}/logs, move {folder}/visits.log into it, and compress the folder to {folder}/logs.zip", both(_still("logs/visits.log"), _still("logs.zip"), _gone("visits.log")), _a("make_folder", "make", folder=F + "logs"), _a("move", "move", source=F + "visits.log", destination=F + "logs"), _a("create_archive", "compress", source=F + "logs", archive=F + "logs.zip")),
    _t("Append 'Oslo' to {folder}/towns.txt and then tell me how many lines it has", both(holds(towns__txt="Ulm\nAal\nGent\nUlm\nOslo"), number(5)), _a("append_text", "append", text="Oslo", file=F + "towns.txt"), _a("count_lines", "how many", file=F + "towns.txt")),
    _t("copy {folder}/fleet.csv to {folder}/fleet-old.csv, then replace van with tram in {folder}/fleet.csv", both(_still("fleet-old.csv"), holds(fleet__csv="tram,3\nbike,12\ntruck,2")), _a("copy", "copy", source=F + "fleet.csv", destination=F + "fleet-old.csv"), _a("replace_text", "replace", file=F + "fleet.csv", old="van", new="tram")),
    _t("find the largest file under {folder}/lab, and list the empty files in {folder}", says("one.dat", "blank.txt"), _a("largest_files", "largest", folder=F + "lab", count=1), _a("empty_files", "empty", folder=F)),
    _t("Create {folder}/a and {folder}/b, then move {folder}/blank.txt to {folder}/b", both(_still("a"), _still("b/blank.txt"), _gone("blank.txt")), _a("make_folder", "/a", folder=F + "a"), _a("make_folder", "create", folder=F + "b"), _a("move", "move", source=F + "blank.txt", destination=F + "b")),
    _t("Sum the second column of {folder}/fleet.csv and show its first line", says("17", "van"), _a("sum_column", "sum", file=F + "fleet.csv", column=2), _a("first_lines", "first", file=F + "fleet.csv", count=1)),
]

HARD = [
    _think("The nightly job fails only on the first of the month. Reason about what could cause it and how to narrow it down.", "Look at what differs on that day: log rotation, monthly reports, quota resets; run it with a faked date.", "log rotation", "faked date"),
    _think("Plan a migration of 2 TB of files to a new server with at most ten minutes of downtime", "Copy while in use, repeat the difference until it is small, then stop, copy the rest and switch.", "difference", "switch"),
    _think("Our disk fills by 3 GB a day and nobody knows why. Work out a plan to find the culprit without stopping anything.", "Measure growth per folder twice a day, then list open deleted files, then trace the writer.", "growth", "deleted files"),
    _think("Explain why a shell script that works by hand fails under cron, and how you would find the cause", "Cron has another PATH, no terminal and another folder; log the environment and compare.", "PATH", "environment"),
    _think("Decide between a bash script, a Makefile and a Python program for a build with caching, and justify it", "A Makefile: it knows what is out of date.", "makefile", "out of date"),
    _think("Design a backup scheme for a laptop that survives theft, fire and a mistaken delete", "Three copies on two kinds of media, one off site, with versions kept for months.", "off site", "versions"),
    _think("A process has 4,000 open files and grows. Think through how to prove that it leaks and where.", "Sample its open files by type over time and look for the type that never shrinks.", "over time", "never shrinks"),
    _think("What would you check, in order, when ssh suddenly asks for a password although the key is right?", "Permissions of the home folder and key file, then the server's log, then the agent.", "permissions", "server's log"),
    _think("Evaluate the risks of running curl piped into bash from a vendor's page, and propose an alternative", "You run what you have not read, perhaps half of it; download, read, check the digest, then run.", "digest"),
    _think("Given load 40 on a 4 core machine and idle CPUs, infer what the machine is waiting for and why", "Processes wait for the disk or network storage: load counts uninterruptible sleep.", "uninterruptible"),
    _think("Compare rsync, tar over ssh and a snapshot for moving a live database, and recommend one", "A snapshot: the others copy files that change meanwhile.", "snapshot", "meanwhile"),
    _think("Devise a way to roll out a kernel update to 200 servers without losing quorum anywhere", "In waves of one member per cluster, with a health check before the next wave.", "waves", "health check"),
    _think("The build is green here and red on the server. What hypotheses would you test, and in which order?", "Versions first, then locale and time zone, then order of tests, then memory.", "versions", "time zone"),
    _think("Argue for or against keeping log files for ten years at our small company", "Against: cost and privacy law outweigh it; keep a year and the sums.", "privacy law"),
    _think("Why would deleting a 10 GB log not free any space, and what should be done instead?", "A process still holds it open; truncate it or restart that process.", "holds it open", "truncate"),
    _think("Sketch how to find which of 300 commits made a test slower, given that the test is noisy", "Bisect with many runs each and compare the medians with a margin.", "bisect", "medians"),
    _t("Rewrite {folder}/lab/fit.py so that it returns the mean of a list given as argument", lambda s, f: "def fit(xs)" in (f / "lab/fit.py").read_text(), _a("write_text", text="def fit(xs):\n    return sum(xs) / len(xs)\n", file=F + "lab/fit.py"), words="def fit(xs):\n    return sum(xs) / len(xs)"),
    _t("What share of the requests in {folder}/visits.log failed, in percent?", says("40"), words="40 % of them failed.", files=YARD),
    _t("In which ten minutes of {folder}/visits.log did most failures happen, and what do they have in common?", says("/pay"), words="From 10:05 to 10:11, and all of them on /pay."),
    _t("Write a short README for the folder {folder}/lab into {folder}/lab/README.txt that explains what each file is for", lambda s, f: (f / "lab/README.txt").is_file() and "fit.py" in (f / "lab/README.txt").read_text(), _a("write_text", text="run.py prints pi. fit.py will hold the fit. notes.md has the rules.", file=F + "lab/README.txt"), words="run.py prints pi. fit.py will hold the fit. notes.md has the rules."),
]

_TASKS: dict[Level, list[dict[str, Any]]] = {"routine": ROUTINE, "several": SEVERAL, "hard": HARD}
SHELL: tuple[ShareTask, ...] = numbered("shell", _TASKS)
