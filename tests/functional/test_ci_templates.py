"""The templates in ci/: they fit the schemas of their services, and their commands work in a clean checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from builder.model.config import BuildConfig
from tests.functional.support.builds import SRCDIR, TIMEOUT, copy_source
from tests.functional.support.programs import RunningProgram

CI = SRCDIR / "ci"
SCHEMAS = {
    "action.yml": "vendor.github-actions",
    "github-actions.yml": "vendor.github-workflows",
    "gitlab-ci.yml": "vendor.gitlab-ci",
}
NOT_HERE = ("apt-get", "git config --global", "git checkout", "git push", "gh ")
"""What belongs to the machines of a service: packages of a bare container, its settings, its repository."""


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(CI / name)
    return loaded


def test_every_template_is_tested() -> None:
    assert {path.name for path in CI.iterdir()} == set(SCHEMAS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema(name: str) -> None:
    argv = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", SCHEMAS[name], str(CI / name)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def clean_checkout(folder: Path) -> None:
    copy_source(folder)
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message=x"]):
        identity = ["-c", "user.name=x", "-c", "user.email=x@example.com"]
        subprocess.run(["git", *identity, *words], cwd=folder, check=True)


def execute(script: str, folder: Path, configured: BuildConfig, variables: dict[str, str]) -> None:
    """Run a script as the services do: by bash, which ends with the first failure."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MKSTAGE1_", "MFLAGS"))
    }
    environment = inherited | {"XDG_CACHE_HOME": str(configured.cache_dir.parent)} | variables
    argv = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script]
    with RunningProgram(argv, cwd=folder, env=environment) as running:
        outcome = running.wait(TIMEOUT)
    assert outcome.status == 0, (script, outcome)


def test_the_action(tmp_path: Path, configured: BuildConfig) -> None:
    clean_checkout(tmp_path)
    inputs = {name: entry["default"] for name, entry in load("action.yml")["inputs"].items()}
    inputs["options"] = "--with-stage1-flavors=fly"
    for step in load("action.yml")["runs"]["steps"]:
        if "run" in step and not step["run"].startswith("./build-rkt-*/venv/bin/mkstage1 cache clean"):
            variables = {name: _filled(value, inputs) for name, value in step.get("env", {}).items()}
            execute(step["run"], tmp_path, configured, variables)
    assert list(tmp_path.glob("build-rkt-*/bin/stage1-fly.aci"))


def _filled(value: str, inputs: dict[str, str]) -> str:
    for name, chosen in inputs.items():
        value = value.replace(f"${{{{ inputs.{name} }}}}", chosen)
    return value


def test_the_jobs_of_gitlab(tmp_path: Path, configured: BuildConfig) -> None:
    """The one that builds, and what the weekly one does before it proposes anything."""
    clean_checkout(tmp_path)
    jobs = load("gitlab-ci.yml")
    for line in jobs["images"]["script"]:
        execute(line, tmp_path, configured, {"FLAVOR": "fly", "KERNEL": "6.1"})
    assert list(tmp_path.glob("build-rkt-*/bin/stage1-fly.aci"))
    for line in jobs["update"]["script"]:
        if not any(word in line for word in NOT_HERE) and "git -c" not in line:
            execute(line.replace("kvm,coreos,fly", "fly"), tmp_path, configured, {})
    assert (tmp_path / "stage1.lock").is_file()
