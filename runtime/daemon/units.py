"""The files that make the daemon a service: systemd, launchd, Windows' Task Scheduler.

Pure functions from what is to be run to text; :mod:`runtime.daemon.install` writes them. systemd
alone can also start the daemon at the first connection (socket activation): launchd hands its
sockets over through a call of its own, and the Task Scheduler has no such thing, so there the
daemon starts at login. Only systemd's was ever tried; the others follow their documentation.
"""

from __future__ import annotations

import plistlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from models.errors import StorageFailed, UsageError
from runtime.daemon.errors import DaemonRunning, ListenRefused

MARK = "Written by `aidecamp daemon install`; `aidecamp daemon uninstall` removes it."
"""In every file, so that none is overwritten or removed that someone else wrote."""
LABEL = "aidecamp.daemon"
"""launchd's name of the job."""
TASK = "Aidecamp daemon"
"""The Task Scheduler's name of the task."""
STOP_S = 45
"""Longer than the daemon's own grace, so that nobody kills what still finishes."""
FATAL = tuple(one.exit_code for one in (UsageError, StorageFailed, DaemonRunning, ListenRefused))
"""Exit codes that starting again does not mend."""


@dataclass(frozen=True, slots=True)
class Service:
    """What is to be run."""

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    new_privileges: bool = False
    """Whether its programs may be setuid: so where bubblewrap is installed that way."""


def systemd_service(service: Service, *, socket_activation: bool = False) -> str:
    """``aidecamp.service``, for the user's own manager. systemd.service(5), systemd.exec(5)."""
    requires = "Requires=aidecamp.socket\nAfter=aidecamp.socket\n" if socket_activation else ""
    # Nothing starts it at login then: the first connection does.
    install = "" if socket_activation else "\n[Install]\nWantedBy=default.target\n"
    environment = "".join(
        f"Environment={_quoted(f'{name}={value}')}\n" for name, value in service.environment.items()
    )
    # bubblewrap makes namespaces, X servers share /tmp/.X11-unix, and tasks write where the user
    # lets them: so nothing here takes away namespaces, /tmp or the home folder.
    privileges = "" if service.new_privileges else "NoNewPrivileges=yes\n"
    return f"""# {MARK}
[Unit]
Description=Aidecamp, the local daemon of AI agents
{requires}StartLimitIntervalSec=60
StartLimitBurst=5

[Service]
Type=notify
NotifyAccess=main
ExecStart={" ".join(_argument(one) for one in service.command)}
ExecReload=/bin/kill -HUP $MAINPID
{environment}KillMode=mixed
TimeoutStartSec=30
TimeoutStopSec={STOP_S}
Restart=on-failure
RestartSec=2
RestartPreventExitStatus={" ".join(map(str, FATAL))}
UMask=0077
LimitCORE=0
{privileges}{install}"""


def systemd_socket(path: str | None, tcp: str | None) -> str:
    """``aidecamp.socket``: listens on ``path`` and on ``tcp`` (``127.0.0.1:24332``) until someone
    connects. systemd.socket(5). ``path`` None: the usual place in the runtime folder."""
    unix = "%t/aidecamp/daemon.sock" if path is None else _literal(path)
    streams = "".join(f"ListenStream={one}\n" for one in (unix, tcp) if one)
    return f"""# {MARK}
[Unit]
Description=Aidecamp's sockets: the first connection starts the daemon

[Socket]
{streams}SocketMode=0600
DirectoryMode=0700
RemoveOnStop=yes

[Install]
WantedBy=sockets.target
"""


def launchd_plist(service: Service, log: str) -> str:
    """The property list of a launch agent. launchd.plist(5). ``log`` gets what comes before the
    daemon's own log is open."""
    body = {
        "Label": LABEL,
        "ProgramArguments": list(service.command),
        "EnvironmentVariables": dict(service.environment),
        "RunAtLoad": True,
        # Started again where it fails, and not where it was told to stop.
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "ExitTimeOut": STOP_S,
        "Umask": 0o077,
        "StandardErrorPath": log,
    }
    for text in (*service.command, *service.environment.values(), log):
        _one_line(text)
    text = plistlib.dumps(body, sort_keys=False).decode()
    head, _, rest = text.partition("<plist")
    return f"{head}<!-- {MARK} -->\n<plist{rest}"


def windows_task(service: Service, user: str) -> str:
    """The Task Scheduler's XML of a task that starts when ``user`` logs on, with their own rights.

    MS-TSCH, section 2.5. ``schtasks`` reads it as UTF-16. A task has no environment of its own,
    so variables are set on the command line.
    """
    command, arguments = service.command[0], _windows(service.command[1:])
    if service.environment:
        sets = "".join(f'set "{_batch(n)}={_batch(v)}" && ' for n, v in service.environment.items())
        arguments = f'/d /c "{sets}{_windows(service.command)}"'
        command = "cmd.exe"
    return f"""<?xml version="1.0" encoding="UTF-16"?>
<!-- {MARK} -->
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>Aidecamp, the local daemon of AI agents</Description>
  </RegistrationInfo>
  <Triggers>
    <LogonTrigger>
      <Enabled>true</Enabled>
      <UserId>{escape(_one_line(user))}</UserId>
    </LogonTrigger>
  </Triggers>
  <Principals>
    <Principal id="Author">
      <UserId>{escape(_one_line(user))}</UserId>
      <LogonType>InteractiveToken</LogonType>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <RestartOnFailure>
      <Interval>PT1M</Interval>
      <Count>3</Count>
    </RestartOnFailure>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>{escape(_one_line(command))}</Command>
      <Arguments>{escape(arguments)}</Arguments>
    </Exec>
  </Actions>
</Task>
"""


def _one_line(text: str) -> str:
    """Raises UsageError on what would end a line, and so could write another setting."""
    if any(ord(char) < 0x20 or ord(char) == 0x7F for char in text):
        raise UsageError(
            f"{text!r} holds a control character, so no service file can name it.",
            hint="Use a path without one.",
        )
    return text


def _literal(text: str) -> str:
    """Text of a unit in which systemd replaces nothing."""
    return _one_line(text).replace("%", "%%")


def _quoted(text: str) -> str:
    """One word of a unit's line, whatever is in it. systemd.syntax(7)."""
    inner = _literal(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{inner}"'


def _argument(text: str) -> str:
    """One argument of ``ExecStart=``, where ``$`` would name a variable."""
    plain = text.replace("_", "").replace("-", "").replace("/", "").replace(".", "").isalnum()
    return text if plain and text.isascii() else _quoted(text).replace("$", "$$")


def _windows(words: tuple[str, ...]) -> str:
    import subprocess

    return subprocess.list2cmdline([_one_line(word) for word in words])


def _batch(text: str) -> str:
    """A variable's name or value for ``set "NAME=VALUE"``."""
    if any(char in text for char in '"%!^&|<>'):
        raise UsageError(
            f"{text!r} cannot be written into a Windows task.",
            hint="Set it for your account instead: setx NAME VALUE.",
        )
    return _one_line(text)
