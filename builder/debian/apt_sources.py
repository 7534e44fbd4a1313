"""Where Debian packages come from: the host's own apt sources for one release, or a mirror that the person names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from common.errors import UserError

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
"""Where the package debian-archive-keyring puts Debian's public keys."""

_COMPONENT = "main"
_KEPT = {"uris": "URIs", "signed-by": "Signed-By", "check-valid-until": "Check-Valid-Until", "check-date": "Check-Date"}
_ONE_LINE_NAMES = {"arch": "architectures"}
"""Options of the one-line style that deb822 spells otherwise."""


@dataclass(frozen=True)
class AptSource:
    """One entry, in the terms of sources.list(5). Nothing in it can switch the check of signatures off."""

    suites: tuple[str, ...]
    fields: tuple[tuple[str, str], ...]
    """The other fields as they are written, "URIs" among them; a value may have several lines."""

    def render(self, architecture: str, *, sources: bool = False) -> str:
        """The entry as a deb822 stanza for packages of one Debian architecture, or for source packages."""
        lines = [
            f"Types: {'deb-src' if sources else 'deb'}",
            f"Suites: {' '.join(self.suites)}",
            f"Components: {_COMPONENT}",
            f"Architectures: {architecture}",
            *(f"{name}: {value}" for name, value in self.fields),
        ]
        return "\n".join(lines) + "\n"


def suites_of(release: str) -> tuple[str, ...]:
    """The suites that make up a stable release: "bookworm", "bookworm-updates", "bookworm-security"."""
    return release, f"{release}-updates", f"{release}-security"


def host_sources(release: str, architecture: str, etc: Path = Path("/etc/apt")) -> tuple[AptSource, ...]:
    """The host's own entries for a release, from `sources.list` and `sources.list.d`, in apt's order.

    Raises `UserError` where there is none.
    """
    files = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    sources: list[AptSource] = []
    for path in files:
        if not path.is_file():
            continue
        text = path.read_text(errors="replace")
        if path.suffix == ".sources":
            stanzas = _deb822(text)
        elif path.suffix == ".list":
            stanzas = _one_line(text)
        else:
            continue
        for stanza in stanzas:
            source = _select(stanza, release, architecture)
            if source is not None:
                sources.append(source)
    if release not in {suite for source in sources for suite in source.suites}:
        raise UserError(
            f"no apt source of this machine offers Debian {release}",
            hint="name a mirror with --with-debian-mirror=URL (and install debian-archive-keyring)",
        )
    return tuple(sources)


def mirror_sources(mirror: str, release: str, keyring: Path) -> tuple[AptSource, ...]:
    """The entries for a mirror.

    A mirror with a path segment `debian` has updates, and security updates beside it under `debian-security`, as
    Debian's own and its snapshots have. Any other is taken as it is, with nothing but the release itself.

    Raises `UserError` where Debian's keyring is not installed.
    """
    if not keyring.is_file():
        raise UserError(f"{keyring}: Debian's public keys are missing", hint="apt install debian-archive-keyring")
    main, updates, security = suites_of(release)
    signed = ("Signed-By", str(keyring))
    parts = urlsplit(mirror)
    segments = parts.path.split("/")
    if "debian" not in segments:
        return (AptSource((main,), (("URIs", mirror), signed)),)
    segments[segments.index("debian")] = "debian-security"
    beside = urlunsplit(parts._replace(path="/".join(segments)))
    return (
        AptSource((main, updates), (("URIs", mirror), signed)),
        AptSource((security,), (("URIs", beside), signed)),
    )


def backports_suite(release: str) -> str:
    """The suite with newer versions of some packages: "bookworm-backports"."""
    return f"{release}-backports"


def backports_of(sources: tuple[AptSource, ...], release: str) -> tuple[AptSource, ...]:
    """The entry for the backports of a release, which lie beside it in each of Debian's archives."""
    main = next(source for source in sources if release in source.suites)
    return (AptSource((backports_suite(release),), main.fields),)


def _select(stanza: dict[str, str], release: str, architecture: str) -> AptSource | None:
    """Keep what belongs to the release. `Trusted` and its like are dropped: signatures always count."""
    suites = tuple(suite for suite in suites_of(release) if suite in stanza.get("suites", "").split())
    architectures = stanza.get("architectures", "").split()
    if (
        not suites
        or "deb" not in stanza.get("types", "").split()
        or _COMPONENT not in stanza.get("components", "").split()
        or stanza.get("enabled", "yes").lower() in ("no", "false", "without", "off", "disable", "0")
        or (architectures and architecture not in architectures)
    ):
        return None
    fields = tuple((_KEPT[name], value) for name, value in stanza.items() if name in _KEPT)
    if "signed-by" not in stanza and KEYRING.is_file():
        fields += (("Signed-By", str(KEYRING)),)
    return AptSource(suites, fields)


def _deb822(text: str) -> Iterator[dict[str, str]]:
    """Stanzas with lower-case field names; the lines of a long value keep their indentation."""
    stanza: dict[str, str] = {}
    name = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if stanza:
                yield stanza
            stanza, name = {}, ""
        elif line[0] in " \t":
            if name:
                stanza[name] += "\n" + line.rstrip()
        else:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            stanza[name] = value.strip()


def _one_line(text: str) -> Iterator[dict[str, str]]:
    """Entries of the one-line style, `deb [signed-by=FILE] URI SUITE COMPONENT...`, as stanzas."""
    for line in text.splitlines():
        words = line.partition("#")[0].replace("[", " [ ", 1).replace("]", " ] ", 1).split()
        stanza: dict[str, str] = {}
        if len(words) > 1 and words[1] == "[":
            end = words.index("]") if "]" in words else len(words) - 1
            for option in words[2:end]:
                key, _, value = option.partition("=")
                stanza[_ONE_LINE_NAMES.get(key, key)] = value.replace(",", " ")
            del words[1 : end + 1]
        if len(words) >= 4:
            yield stanza | {
                "types": words[0],
                "uris": words[1],
                "suites": words[2],
                "components": " ".join(words[3:]),
            }
