import json
from pathlib import Path

import pytest


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pod directory with two apps and an image with qemu, as the working directory."""
    image = tmp_path / "stage1/rootfs"
    apps = []
    for name in ("web", "db"):
        app = {"exec": [f"/{name}"], "user": "1000", "group": "0"}
        (image / "opt/stage2" / name / "rootfs").mkdir(parents=True)
        (image / "opt/stage2" / name / "manifest").write_text(json.dumps({"name": f"example.com/{name}", "app": app}))
        apps.append({"name": name, "app": app})
    (tmp_path / "stage1/manifest").write_text("{}")
    (tmp_path / "pod").write_text(json.dumps({"apps": apps}))
    for file in ("qemu", "kernel_image", "usr/lib/systemd/system/systemd-journald.service", "etc/passwd", "etc/group"):
        (image / file).parent.mkdir(parents=True, exist_ok=True)
        (image / file).touch()
    sizing = image / "usr/lib/stage1/sizing.json"
    sizing.parent.mkdir()
    sizing.write_text('{"app-memory": "128Mi", "system-memory": "128Mi", "minimum-memory": "0"}')
    sizing.with_name("guest.json").write_text("{}")
    sizing.with_name("qemu.json").write_text('{"machine": "virt", "cpu": "max,x=on"}')
    monkeypatch.chdir(tmp_path)
    return tmp_path
