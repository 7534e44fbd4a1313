"""Every benchmark, one after the other: `make bench`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCHMARKS = ("bench_archive.py", "bench_boot.py", "bench_make.py", "bench_rkt.py", "bench_store.py")


def main() -> int:
    status = 0
    for name in BENCHMARKS:
        print(f"== {name}", flush=True)
        status = max(status, subprocess.run([sys.executable, Path(__file__).with_name(name)], check=False).returncode)
    return status


if __name__ == "__main__":
    sys.exit(main())
