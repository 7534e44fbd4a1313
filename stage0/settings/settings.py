"""What holds for every command: the directories, the protections, the configuration."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stage0.settings.files import Config, load_config
from stage0.settings.insecure import Insecure

SYSTEM_CONFIG = Path("/usr/lib/rkt")
LOCAL_CONFIG = Path("/etc/rkt")
DATA_DIR = Path("/var/lib/rkt")
PREPARE_LOCK = "prepareLock"
"""A lock in `Settings.locks_dir`: shared by who prepares pods, held alone by who removes trees (rkt, common)."""


@dataclass(frozen=True)
class Settings:
    """The global flags and the configuration files, resolved."""

    data_dir: Path
    """Images, trees and pods: absolute, without symbolic links."""
    system_config: Path
    local_config: Path
    user_config: Path | None
    """A third configuration directory, which overrides the other two; anyone but root always has one."""
    insecure: Insecure
    trust_keys_from_https: bool
    debug: bool
    config: Config

    @property
    def store_dir(self) -> Path:
        """The image store and the tree store."""
        return self.data_dir / "cas"

    @property
    def pods_dir(self) -> Path:
        """The folders of the pods' states."""
        return self.data_dir / "pods"

    @property
    def locks_dir(self) -> Path:
        """Locks of the data directory as a whole."""
        return self.data_dir / "locks"

    @property
    def config_dirs(self) -> tuple[Path, ...]:
        """The configuration directories; each overrides those before it."""
        return _config_dirs(self.system_config, self.local_config, self.user_config)


@dataclass(frozen=True)
class Flags:
    """The global flags as they were given; None stands for a directory that no flag names."""

    data_dir: Path | None = None
    system_config: Path = SYSTEM_CONFIG
    local_config: Path = LOCAL_CONFIG
    user_config: Path | None = None
    insecure: Insecure = Insecure.NONE
    trust_keys_from_https: bool = False
    debug: bool = False


def resolve(flags: Flags, environment: Mapping[str, str], uid: int) -> Settings:
    """Settings from flags and configuration files. Raises `UserError` for a file that is wrong.

    rkt's defaults are root's. Anyone else gets directories below the home directory, as the XDG base directory
    specification names them.
    """
    user_config = flags.user_config
    default_data = DATA_DIR
    if uid != 0:
        user_config = user_config or _home(environment, "XDG_CONFIG_HOME", ".config") / "rkt"
        default_data = _home(environment, "XDG_DATA_HOME", ".local/share") / "rkt"
    config = load_config(_config_dirs(flags.system_config, flags.local_config, user_config))
    data_dir = flags.data_dir or (Path(config.data) if config.data else default_data)
    return Settings(
        data_dir=data_dir.resolve(),
        system_config=flags.system_config,
        local_config=flags.local_config,
        user_config=user_config,
        insecure=flags.insecure,
        trust_keys_from_https=flags.trust_keys_from_https,
        debug=flags.debug,
        config=config,
    )


def _config_dirs(system: Path, local: Path, user: Path | None) -> tuple[Path, ...]:
    return (system, local) if user is None else (system, local, user)


def _home(environment: Mapping[str, str], variable: str, default: str) -> Path:
    value = environment.get(variable, "")
    return Path(value) if os.path.isabs(value) else Path(environment.get("HOME") or "/") / default  # noqa: PTH117
