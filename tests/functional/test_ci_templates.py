"""The templates in ci/: they fit the schemas of their services, and their commands work in a clean checkout."""

from __future__ import annotations

import os
import re
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
FORGE = SRCDIR / ".github"
SCHEMAS = {
    "action.yml": "vendor.github-actions",
    "github-actions.yml": "vendor.github-workflows",
    "gitlab-ci.yml": "vendor.gitlab-ci",
}
FORGE_SCHEMAS = {
    "dependabot.yml": "vendor.dependabot",
    "ISSUE_TEMPLATE/bug.yml": "vendor.github-issue-forms",
    "ISSUE_TEMPLATE/config.yml": "vendor.github-issue-config",
    "ISSUE_TEMPLATE/feature.yml": "vendor.github-issue-forms",
}
NIGHTLY = "check-all"
NOT_HERE = ("apt-get", "git config --global", "git checkout", "git push", "gh ")
"""What belongs to the machines of a service: packages of a bare container, its settings, its repository."""


def load(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(CI / name)
    return loaded


def test_every_template_is_tested() -> None:
    assert {path.name for path in CI.iterdir()} == set(SCHEMAS)


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schema(name: str) -> None:
    check_schema(SCHEMAS[name], CI / name)


def check_schema(schema: str, path: Path) -> None:
    argv = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_file_of_the_forge_is_tested() -> None:
    assert {str(path.relative_to(FORGE)) for path in FORGE.rglob("*.yml")} == set(FORGE_SCHEMAS)


@pytest.mark.parametrize("name", FORGE_SCHEMAS)
def test_the_schema_of_the_forge(name: str) -> None:
    check_schema(FORGE_SCHEMAS[name], FORGE / name)


@pytest.mark.parametrize("number", [0, 1])
def test_dependabot_looks_where_versions_are_pinned(number: int) -> None:
    update = YAML(typ="safe").load(FORGE / "dependabot.yml")["updates"][number]
    pattern = {"pip": "*.txt", "github-actions": "github-actions.yml"}[update["package-ecosystem"]]
    assert list((SRCDIR / update["directory"].lstrip("/")).glob(pattern))


def test_github_has_a_job_for_each_schedule() -> None:
    workflow = load("github-actions.yml")
    times = {entry["cron"] for entry in workflow["on"]["schedule"]}
    jobs = workflow["jobs"]
    conditions = {name: job["if"] for name, job in jobs.items() if "github.event.schedule" in job.get("if", "")}
    assert set(conditions) == {"nightly", "update"}
    assert {text.partition("== ")[2].strip("'") for text in conditions.values()} == times
    assert all("github.event_name != 'schedule'" in jobs[name]["if"] for name in ("images", "check"))


def test_every_check_runs_at_night() -> None:
    targets = re.findall(r"^([a-z-]+):", (SRCDIR / "Makefile").read_text(), re.MULTILINE)
    steps = load("github-actions.yml")["jobs"]["nightly"]["steps"]
    assert [step["with"]["target"] for step in steps if "with" in step] == [NIGHTLY]
    jobs = load("gitlab-ci.yml")
    assert f"make {NIGHTLY}" in jobs["nightly"]["script"]
    assert jobs["nightly"]["rules"] == [{"if": '$CI_PIPELINE_SOURCE == "schedule" && $NIGHTLY'}]
    assert jobs["update"]["rules"] == [{"if": '$CI_PIPELINE_SOURCE == "schedule" && $NIGHTLY == null'}]
    assert NIGHTLY in targets


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
    environment = inherited | {"XDG_CACHE_HOME": str(configured.cache.directory.parent)} | variables
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
