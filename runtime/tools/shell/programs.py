"""What each program can do, by its options: the table behind the risk classes.

A rule gets a program's arguments and answers ``(risk, reason)``. A program that is not in the
table is sensitive. Where an argument's final text is unknown (``Word.exact`` is False) and the
options matter, the answer is the worst that the program can do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from runtime.tools.shell.options import LOOKS, Classify, Finding, Options, worst_of
from runtime.tools.shell.parse import Word
from runtime.tools.shell.scripts import awk, sed
from runtime.tools.shell.starters import env, find, prefix, xargs

_READ_NAMES = """
: [ arch awk b2sum base32 base64 basename break bzcat cal cat cd cksum cmp column comm continue
cut df diff diff3 dirname du echo egrep exit expand expr factor false fgrep fmt fold free getent
grep groups head hexdump id join jq last lastlog locale locate logname ls lsblk lscpu lsmod lsof
lspci lsusb md5sum nl nproc numfmt od paste pgrep pidof pr printenv ps pstree pwd readlink
realpath return rev seq sha1sum sha224sum sha256sum sha384sum sha512sum shift sleep stat strings
sum tac tail test tr true tsort tty type uname unexpand uptime users vmstat w wait wc which who
whoami xzcat zcat zgrep zstdcat
"""
_READ = frozenset(_READ_NAMES.split())

_WRITE = {
    "cp": "copies files",
    "mv": "moves files",
    "mkdir": "makes folders",
    "rmdir": "removes empty folders",
    "touch": "makes files or changes their times",
    "ln": "makes links",
    "mktemp": "makes files",
    "install": "copies files",
    "tee": "writes files",
    "split": "writes files",
    "csplit": "writes files",
    "patch": "changes files",
    "nohup": "writes nohup.out",
    "sync": "flushes disks",
}

_SENSITIVE = {
    "rm": "deletes files",
    "unlink": "deletes files",
    "shred": "destroys files",
    "truncate": "cuts files",
    "dd": "writes raw data",
    "chown": "changes owners",
    "chgrp": "changes groups",
    "sudo": "asks for more rights",
    "su": "changes the user",
    "doas": "asks for more rights",
    "pkexec": "asks for more rights",
    "kill": "ends processes",
    "killall": "ends processes",
    "pkill": "ends processes",
    "curl": "talks to the network",
    "wget": "talks to the network",
    "ssh": "talks to the network",
    "scp": "talks to the network",
    "sftp": "talks to the network",
    "rsync": "talks to the network, and may delete",
    "nc": "talks to the network",
    "eval": "runs text as a command",
    "source": "runs a file as commands",
    ".": "runs a file as commands",
    "exec": "replaces the shell",
    "mount": "changes file systems",
    "umount": "changes file systems",
    "mkfs": "formats a disk",
    "reboot": "stops the machine",
    "shutdown": "stops the machine",
    "crontab": "plans commands",
    "at": "plans commands",
    "python": "runs a program of its own",
    "python3": "runs a program of its own",
    "perl": "runs a program of its own",
    "ruby": "runs a program of its own",
    "node": "runs a program of its own",
}


_COMPRESSES: Finding = ("write", "replaces a file by its compressed or plain form")

_COMPRESSOR = Options(_COMPRESSES)


def _compressor(words: Sequence[Word]) -> Finding:
    letters = {c for w in words if re.fullmatch(r"-[a-zA-Z0-9]+", w.text) for c in w.text[1:]}
    long = {w.text for w in words}
    if all(w.exact for w in words) and (letters & set("clt") or long & {"--stdout", "--list"}):
        return LOOKS
    return _COMPRESSES


def _hostname(words: Sequence[Word]) -> Finding:
    if all(w.exact and re.fullmatch(r"-[aAdfiIsyy]+", w.text) for w in words):
        return LOOKS
    return _SET


_TAR_DANGEROUS = (
    *("to-command", "checkpoint-action", "use-compress-program", "rsh-command", "rmt-command"),
    *("info-script", "new-volume-script", "absolute-names", "remove-files", "unlink-first"),
    *("recursive-unlink", "delete"),
)
_TAR_WRITES = (*("extract", "get", "create", "append", "update", "concatenate", "catenate"),)


def _tar(words: Sequence[Word]) -> Finding:
    if any(not w.exact for w in words):
        return ("sensitive", "an argument of tar is only known later")
    findings: list[Finding] = []
    letters = ""
    local = any(w.text == "--force-local" for w in words)
    for i, word in enumerate(words):
        text = word.text
        if text.startswith("--"):
            name = text[2:].split("=")[0]
            if name and any(d.startswith(name) for d in _TAR_DANGEROUS):
                return ("sensitive", f"tar {text} may run programs, delete or leave the folder")
            if name and any(d.startswith(name) for d in _TAR_WRITES):
                findings.append(("write", "packs or unpacks files"))
        elif text.startswith("-") or i == 0:
            letters += text.lstrip("-")
        elif ":" in text and not local:
            return ("sensitive", "tar takes a name with a colon for another machine")
    if set(letters) & set("IFPU"):
        return ("sensitive", "tar may run programs or leave the folder")
    if set(letters) & set("xcruA"):
        findings.append(("write", "packs or unpacks files"))
    return worst_of([LOOKS, *findings])


def _unzip(words: Sequence[Word]) -> Finding:
    letters = "".join(w.text[1:] for w in words if w.text.startswith("-"))
    if all(w.exact for w in words) and set(letters) & set("lvpZtz"):
        return LOOKS
    return ("write", "unpacks files")


def _chmod(words: Sequence[Word]) -> Finding:
    operands = [w for w in words if w.text != "--"]
    plain = all(w.exact for w in words)
    mode = operands[0].text if operands else ""
    simple = re.fullmatch(r"[ugoa]*[+=-][rwxX]*|0?[0-7]{3}", mode) is not None
    world = re.search(r"(^|[oa][ugoa]*)[+=][rxX]*w", mode) or re.fullmatch(
        r"0?[0-7]{2}[2367]", mode
    )
    if plain and simple and not world and not any(w.text.startswith("-R") for w in words):
        return ("write", "changes permissions")
    return ("sensitive", "changes permissions widely")


def _read_builtin(words: Sequence[Word]) -> Finding:
    names = [w for w in words if not w.text.startswith("-")]
    if all(re.fullmatch(r"\w*", w.text) and w.exact for w in names):
        return LOOKS
    return ("sensitive", "read into a computed variable can run commands")


def _printf(words: Sequence[Word]) -> Finding:
    if words and (not words[0].exact or words[0].text.startswith("-v")):
        return ("sensitive", "printf -v can run commands")
    return LOOKS


def _test(words: Sequence[Word]) -> Finding:
    if any(w.text in ("-v", "-R") for w in words):
        return ("sensitive", "test -v can run commands")
    return LOOKS


def _ip(words: Sequence[Word]) -> Finding:
    operands = [w.text for w in words if not w.text.startswith("-")]
    shows = {"show", "list", "ls", "sh", "lst"}
    known = {"address", "addr", "a", "link", "l", "route", "r", "neigh", "n"}
    if (
        all(w.exact for w in words)
        and not any(
            w.text.startswith(("-b", "-n", "-a")) and w.text not in ("-br", "-brief") for w in words
        )
        and operands
        and operands[0] in known
        and (len(operands) == 1 or operands[1] in shows)
    ):
        return LOOKS
    return ("sensitive", "changes the network")


def _git(words: Sequence[Word]) -> Finding:
    operands = [w.text for w in words if w.exact and not w.text.startswith("-")]
    looks = ("status", "log", "diff", "show", "blame", "ls-files", "rev-parse")
    if operands and words[0].text == operands[0] and operands[0] in looks:
        return ("write", "git may run programs that the repository's configuration names")
    return ("sensitive", "git changes history, files or other machines")


_SET: Finding = ("sensitive", "changes the machine's settings")

RULES: dict[str, Callable[[Sequence[Word]], Finding]] = {
    "sort": Options(
        LOOKS,
        short={"o": ("write", "writes the sorted lines to a file")},
        long={
            "output": ("write", "writes the sorted lines to a file"),
            "compress-program": ("sensitive", "runs a program"),
        },
        takes="tkST",
    ),
    "shuf": Options(
        LOOKS,
        short={"o": ("write", "writes to a file")},
        long={"output": ("write", "writes to a file")},
    ),
    "tree": Options(
        LOOKS, short={"o": ("write", "writes to a file")}, long={"output": ("write", "writes")}
    ),
    "uniq": Options(LOOKS, operands=1, takes="fsw"),
    "xxd": Options(LOOKS, operands=1),
    "date": Options(LOOKS, short={"s": _SET}, long={"set": _SET}, takes="dfr", glued="I"),
    "hostname": _hostname,
    "file": Options(
        LOOKS, short={"C": ("write", "writes a magic file")}, long={"compile": ("write", "writes")}
    ),
    "ss": Options(LOOKS, short={"K": _SET}, long={"kill": _SET}),
    "dmesg": Options(
        LOOKS,
        short={"c": _SET, "C": _SET, "n": _SET, "D": _SET, "E": _SET},
        long={"clear": _SET, "read-clear": _SET, "console-off": _SET, "console-on": _SET},
    ),
    "zip": Options(
        ("write", "packs files"),
        short={"m": ("sensitive", "deletes what it packs"), "T": ("sensitive", "runs a program")},
        long={"move": ("sensitive", "deletes"), "unzip-command": ("sensitive", "runs a program")},
    ),
    "gzip": _compressor,
    "gunzip": _compressor,
    "bzip2": _compressor,
    "bunzip2": _compressor,
    "xz": _compressor,
    "unxz": _compressor,
    "zstd": _compressor,
    "unzip": _unzip,
    "sed": sed,
    "awk": awk,
    "gawk": awk,
    "mawk": awk,
    "tar": _tar,
    "chmod": _chmod,
    "read": _read_builtin,
    "printf": _printf,
    "test": _test,
    "[": _test,
    "ip": _ip,
    "git": _git,
}

STARTERS: dict[str, Callable[[Sequence[Word], Classify], Finding]] = {
    "find": find,
    "xargs": xargs,
    "env": env,
    "nice": prefix(takes="n"),
    "ionice": prefix(takes="cnp"),
    "timeout": prefix(takes="ks", operands=1),
    "stdbuf": prefix(takes="ioe"),
    "setsid": prefix(),
    "command": prefix(),
    "builtin": prefix(),
}
"""Programs that start another one: their rules class that one too."""


def plain_name(program: str) -> str:
    """``/usr/bin/ls`` is ``ls``; a program of the same name elsewhere is another program."""
    folder, _, name = program.rpartition("/")
    return name if folder in ("/bin", "/usr/bin", "/sbin", "/usr/sbin") else program


def assess(words: Sequence[Word], classify: Classify) -> Finding:
    """Risk of one program with its arguments; ``classify`` is asked about what it starts."""
    name, arguments = plain_name(words[0].text), words[1:]
    if not words[0].exact:
        return ("sensitive", "which program it runs is only known later")
    if name in STARTERS:
        return STARTERS[name](arguments, classify)
    if name in RULES:
        return RULES[name](arguments)
    if name in _READ:
        return LOOKS
    if name in _WRITE:
        return ("write", f"{name} {_WRITE[name]}")
    if name in _SENSITIVE:
        return ("sensitive", f"{name} {_SENSITIVE[name]}")
    return ("sensitive", f"{name} is not in the table of known programs")
