"""The systemd units of the apps, and the escaping that keeps every text of a pod what it is.

Sources of the rules: systemd.syntax(7) for values and quoting, systemd.service(5) "COMMAND LINES" for ExecStart=,
systemd.unit(5) "SPECIFIERS" for `%`, systemd.exec(5) for EnvironmentFile=.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stage1.errors import UserError
from stage1.executable import DEFAULT_PATH
from stage1.pod import App
from stage1.users import Identity

UNIT_FOLDER = "usr/lib/systemd/system"
ENVIRONMENT_FOLDER = "rkt/env"
MARK = "# Written by stage1 for this pod."
"""First line of a generated unit: it tells such a unit from those of the image."""

_LINE_LENGTH = 1 << 20
"""What systemd takes as one line of a unit, in bytes."""
_SYSTEMD_VARIABLES = ("LANG", "INVOCATION_ID", "JOURNAL_STREAM", "SYSTEMD_EXEC_PID")
"""What systemd adds to the environment of a service, and an app does not expect."""
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
    """A line of an EnvironmentFile=. In double quotes only `"`, `\\`, `$` and the backquote have to be escaped."""
    for character in '\\"$`':
        value = value.replace(character, f"\\{character}")
    return f'{name}="{value}"\n'


def plain_value(text: str, where: str) -> str:
    """A value that takes the rest of its line, unquoted: a path or a description.

    Raises `UserError` for texts that such a value cannot hold: control characters, and space or `\\` at its end.
    """
    if not text.isprintable() or text != text.strip() or text.endswith("\\"):
        raise UserError(f"{where}: {text!r} has a character that systemd does not allow there")
    return text.replace("%", "%%")


def environment_file(app: App) -> str:
    """The app's environment: defaults of the appc executor, then what the app sets."""
    environment = {
        "PATH": DEFAULT_PATH,
        "SHELL": "/bin/sh",
        "USER": "root",
        "LOGNAME": "root",
        "HOME": "/root",
        **app.environment,
        "AC_APP_NAME": app.name,
    }
    return "".join(quote_variable(name, value) for name, value in environment.items())


def app_unit(app: App, identity: Identity, executable: str, *, interactive: bool) -> str:
    """The service of one app. Raises `UserError` for texts that systemd cannot take."""
    where = f"app {app.name}"
    if any(character in executable for character in "\"'\\") or not executable.isprintable():
        raise UserError(f"{where}: systemd cannot execute {executable!r}, because of a character in its name")
    command = " ".join(quote_argument(word) for word in (executable, *app.arguments[1:]))
    image = "".join(character if character.isprintable() else "?" for character in app.image)
    unit = {
        "Description": plain_value(f"Application={app.name} Image={image}".rstrip("\\ "), where),
        "DefaultDependencies": "no",
        "Requires": "apps.target systemd-journald.socket",
        "After": "apps.target systemd-journald.socket",
        "Conflicts": "ending.target",
        "OnSuccess": f"app-exited@{app.name}.service",
        "OnFailure": f"app-failed@{app.name}.service",
    }
    service = {
        "Type": "exec",
        "ExecStart": f":{command}",
        "RootDirectory": f"/{app.root}",
        "MountAPIVFS": "yes",
        "BindPaths": "/run/systemd/journal",
        "WorkingDirectory": plain_value(app.working_directory, f"{where}: workingDirectory"),
        "EnvironmentFile": f"/{ENVIRONMENT_FOLDER}/{app.name}",
        "UnsetEnvironment": " ".join(name for name in _SYSTEMD_VARIABLES if name not in app.environment),
        "SyslogIdentifier": app.name,
        **_streams(interactive),
        **_identity(identity),
    }
    text = f"{MARK}\n[Unit]\n{_section(unit)}\n[Service]\n{_section(service)}"
    if max(len(line.encode()) for line in text.splitlines()) >= _LINE_LENGTH:
        raise UserError(f"{where}: the arguments are longer than the {_LINE_LENGTH} bytes that systemd takes")
    return text


def _streams(interactive: bool) -> Mapping[str, str]:
    if interactive:
        return {"StandardInput": "tty", "StandardOutput": "tty", "StandardError": "tty"}
    return {"StandardOutput": "journal+console", "StandardError": "journal+console"}


def _identity(identity: Identity) -> Mapping[str, str]:
    settings = {}
    if identity.uid or identity.gid:
        settings = {"User": str(identity.uid), "Group": str(identity.gid)}
    if identity.supplementary_gids:
        settings["SupplementaryGroups"] = " ".join(map(str, identity.supplementary_gids))
    return settings


def default_target(apps: Iterable[App]) -> str:
    """What the guest starts: every app."""
    services = " ".join(f"{app.name}.service" for app in apps)
    unit = {"Description": "Pod", "DefaultDependencies": "no", "Requires": services, "AllowIsolate": "yes"}
    return f"{MARK}\n[Unit]\n{_section(unit)}"


def _section(settings: Mapping[str, str]) -> str:
    return "".join(f"{key}={value}\n" for key, value in settings.items())
