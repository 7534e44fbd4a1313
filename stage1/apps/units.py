"""The systemd units of the apps, and the escaping that keeps every text of a pod what it is.

Sources of the rules: systemd.syntax(7) for values and quoting, systemd.service(5) "COMMAND LINES" for ExecStart=,
systemd.unit(5) "SPECIFIERS" for `%`, systemd.exec(5) for EnvironmentFile=.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from stage1.apps.executable import DEFAULT_PATH
from stage1.apps.isolators import Settings
from stage1.apps.users import Identity
from stage1.host.errors import UserError
from stage1.pod.pod import App, Event, Stream, StreamMode
from stage1.pod.streams import FOLDER, TERMINAL, endpoints_of, stream_service

UNIT_FOLDER = "usr/lib/systemd/system"
ENVIRONMENT_FOLDER = "rkt/env"
MARK = "# Written by stage1 for this pod."
"""First line of a generated unit: it tells such a unit from those of the image."""

_LINE_LENGTH = 1 << 20
"""What systemd takes as one line of a unit, in bytes."""
_SYSTEMD_VARIABLES = ("LANG", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID")
"""What systemd adds to the environment of a service, and an app does not expect."""
_EVENTS = {Event.PRE_START: "ExecStartPre", Event.POST_STOP: "ExecStopPost"}
_TERMINALS: Mapping[StreamMode | None, str] = {StreamMode.INTERACTIVE: "tty", StreamMode.TTY: "tty"}
_LOGS = {True: "journal+console", False: "tty"}
"""Where lines go, by whether there is a journal."""
_STREAM_SERVICE = "/usr/bin/python3 -I -S -B /usr/lib/stage1/stage1.pyz streams"
_REST_SECONDS = 10
"""How long the pod waits, at the end of an app, for those attached to it to take the rest of what it has written."""
_LISTEN = {"tcp": "ListenStream", "udp": "ListenDatagram"}
_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def quote_argument(text: str) -> str:
    """A word of ExecStart= behind the `:` prefix, which turns variable expansion off."""
    escaped = "".join(
        _ESCAPES.get(character) or (character if character.isprintable() else _hex(character)) for character in text
    )
    return '"' + escaped.replace("%", "%%") + '"'


def _hex(text: str) -> str:
    return "".join(f"\\x{byte:02x}" for byte in text.encode())


def quote_variable(name: str, value: str) -> str:
    r"""A line of an EnvironmentFile=. In double quotes only `"`, `\`, `$` and the backquote have to be escaped."""
    for character in '\\"$`':
        value = value.replace(character, f"\\{character}")
    return f'{name}="{value}"\n'


def plain_value(text: str, where: str) -> str:
    r"""A value that takes the rest of its line, unquoted: a path or a description.

    Raises `UserError` for texts that such a value cannot hold: control characters, and space or `\` at its end.
    """
    if not text.isprintable() or text != text.strip() or text.endswith("\\"):
        raise UserError(f"{where}: {text!r} has a character that systemd does not allow there")
    return text.replace("%", "%%")


def environment_file(app: App, metadata_url: str = "") -> str:
    """The app's environment as an EnvironmentFile=."""
    return "".join(quote_variable(name, value) for name, value in app_environment(app, metadata_url).items())


def app_environment(app: App, metadata_url: str = "") -> dict[str, str]:
    """The app's environment: defaults of the appc executor, what the app sets, and where it finds its metadata."""
    return {
        "PATH": DEFAULT_PATH,
        "SHELL": "/bin/sh",
        "USER": "root",
        "LOGNAME": "root",
        "HOME": "/root",
        **app.environment,
        "AC_APP_NAME": app.name,
        **({"AC_METADATA_URL": metadata_url} if metadata_url else {}),
    }


@dataclass(frozen=True)
class Programs:
    """The absolute paths, inside the app's root, of what an app executes."""

    main: str
    handlers: tuple[str, ...]
    """In the order of the app's event handlers."""


def app_unit(
    app: App, identity: Identity, programs: Programs, isolation: Settings, *, interactive: bool, journal: bool = True
) -> str:
    """The service of one app; `isolation` is what `root_settings` and `isolator_settings` say.

    Raises `UserError` for texts that systemd cannot take.
    """
    where = f"app {app.name}"
    image = "".join(character if character.isprintable() else "?" for character in app.image)
    needed = "apps.target systemd-journald.socket" if journal else "apps.target"
    if endpoints_of(app.streams) and not interactive:
        needed += f" {stream_service(app.name)}"
    unit = {
        "Description": plain_value(f"Application={app.name} Image={image}".rstrip("\\ "), where),
        "DefaultDependencies": "no",
        # A socket is there before its service without a word.
        "Requires": f"{needed} {app.name}.socket" if app.activated_ports else needed,
        "After": needed,
        "Conflicts": "ending.target",
        "OnSuccess": f"app-exited@{app.name}.service",
        "OnFailure": f"app-failed@{app.name}.service",
    }
    service = {
        "Type": "notify" if app.notifies else "exec",
        **({"NotifyAccess": "all"} if app.notifies else {}),
        # What runs before the app is ready takes as long as it takes.
        "TimeoutStartSec": "infinity",
        "RootDirectory": f"/{app.root}",
        "WorkingDirectory": plain_value(app.working_directory, f"{where}: workingDirectory"),
        "EnvironmentFile": f"/{ENVIRONMENT_FOLDER}/{app.name}",
        "UnsetEnvironment": " ".join(name for name in _SYSTEMD_VARIABLES if name not in app.environment),
        "SyslogIdentifier": app.name,
        **_streams(app, interactive, journal),
        **_identity(identity),
    }
    lines = [*service.items(), *isolation, *_commands(app, programs)]
    text = f"{MARK}\n[Unit]\n{_section(unit.items())}\n[Service]\n{_section(lines)}"
    if max(len(line.encode()) for line in text.splitlines()) >= _LINE_LENGTH:
        raise UserError(f"{where}: the arguments are longer than the {_LINE_LENGTH} bytes that systemd takes")
    return text


def stream_unit(app: App, *, journal: bool = True) -> str:
    """The service that holds the streams of an attachable app, from before its start until after its end."""
    names = " ".join(endpoint.value for endpoint in endpoints_of(app.streams))
    unit = {
        "Description": f"Streams of application {app.name}",
        "DefaultDependencies": "no",
        # The pod does not end before those who are attached have all that the app has written.
        "Requires": "apps.target",
        "After": "apps.target",
        "StopWhenUnneeded": "yes",
    }
    service = {
        # Not a slice of its own, which systemd makes for every template.
        "Slice": "system.slice",
        "Type": "notify",
        "ExecStart": f"{_STREAM_SERVICE} {app.name} {names}",
        "TimeoutStartSec": "infinity",
        "TimeoutStopSec": str(_REST_SECONDS),
        "StandardInput": "null",
        "StandardOutput": "null",
        "StandardError": _LOGS[journal],
        "SyslogIdentifier": app.name,
    }
    return f"{MARK}\n[Unit]\n{_section(unit.items())}\n[Service]\n{_section(service.items())}"


def socket_unit(app: App) -> str:
    """The sockets that an app gets when it starts: its socket activated ports, in the order of its manifest.

    Other apps start when they listen, so that none takes their ports. They close with the app's end: a connection must
    not start it again.
    """
    unit = {
        "Description": f"Ports of application {app.name}",
        "DefaultDependencies": "no",
        "Before": "apps.target",
        "BindsTo": f"{app.name}.service",
    }
    sockets = [(_LISTEN[port.protocol], str(number)) for port in app.activated_ports for number in port.numbers]
    return f"{MARK}\n[Unit]\n{_section(unit.items())}\n[Socket]\n{_section([*sockets, ('BindIPv6Only', 'both')])}"


def _commands(app: App, programs: Programs) -> Settings:
    commands = [("ExecStart", f":{_command(app, programs.main, app.arguments)}")]
    for handler, program in zip(app.event_handlers, programs.handlers, strict=True):
        # "!": as root, in the app's root and with its restrictions.
        commands.append((_EVENTS[handler.event], f":!{_command(app, program, handler.arguments)}"))
    return commands


def _command(app: App, executable: str, arguments: tuple[str, ...]) -> str:
    if any(character in executable for character in "\"'\\") or not executable.isprintable():
        raise UserError(f"app {app.name}: systemd cannot execute {executable!r}, because of a character in its name")
    return " ".join(quote_argument(word) for word in (executable, *arguments[1:]))


def _streams(app: App, interactive: bool, journal: bool) -> Mapping[str, str]:
    if interactive:
        return {"StandardInput": "tty", "StandardOutput": "tty", "StandardError": "tty"}
    folder = f"{FOLDER}/{app.name}"
    own_terminal = StreamMode.TTY in app.streams.values()
    inputs = {**_TERMINALS, StreamMode.STREAM: f"file:{folder}/{Stream.INPUT.value}"}
    settings = {"StandardInput": inputs.get(app.streams.get(Stream.INPUT), "null")}
    for name, stream in {"StandardOutput": Stream.OUTPUT, "StandardError": Stream.ERROR}.items():
        outputs = {
            **_TERMINALS,
            StreamMode.NULL: "null",
            # "tty" is the app's own terminal then.
            StreamMode.LOG: "file:/dev/console" if own_terminal and not journal else _LOGS[journal],
            StreamMode.STREAM: f"file:{folder}/{stream.value}",
        }
        settings[name] = outputs[app.streams.get(stream, StreamMode.LOG)]
    return settings | ({"TTYPath": f"{folder}/{TERMINAL}"} if own_terminal else {})


def _identity(identity: Identity) -> Mapping[str, str]:
    settings = {}
    if identity.uid or identity.gid:
        settings = {"User": str(identity.uid), "Group": str(identity.gid)}
    if identity.supplementary_gids:
        settings["SupplementaryGroups"] = " ".join(map(str, identity.supplementary_gids))
    return settings


def default_target(apps: Iterable[App]) -> str:
    """What the guest starts: every app. It is reached when all of them were started."""
    services = " ".join(f"{app.name}.service" for app in apps)
    unit = {
        "Description": "Pod",
        "DefaultDependencies": "no",
        "Requires": services,
        "After": services,
        "AllowIsolate": "yes",
    }
    return f"{MARK}\n[Unit]\n{_section(unit.items())}"


def _section(settings: Iterable[tuple[str, str]]) -> str:
    return "".join(f"{key}={value}\n" for key, value in settings)
