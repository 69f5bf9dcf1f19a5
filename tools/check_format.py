#!/usr/bin/env python3
"""Every C++ file is as clang-format leaves it. `--fix` formats them all."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FORMAT = "clang-format-14"  # another version breaks lines elsewhere


def main() -> int:
    files = subprocess.run(["git", "ls-files", "*.cc", "*.h", "*.cuh"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    if "--fix" in sys.argv:
        subprocess.run([FORMAT, "-i", *files], cwd=ROOT, check=True)
        return 0
    done = subprocess.run([FORMAT, "--dry-run", "-Werror", *files], cwd=ROOT, capture_output=True, text=True)
    for file in sorted({line.split(":")[0] for line in done.stderr.splitlines() if "error:" in line}):
        print(f"{file}: not as {FORMAT} leaves it: run {FORMAT} -i {file}")
    if done.returncode == 0:
        print(f"format: {len(files)} files are as they should be")
    return 1 if done.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
