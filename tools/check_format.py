#!/usr/bin/env python3
"""Every C++ file is as clang-format leaves it, but for those that tools/unformatted.txt still lists. `--fix` formats them all and empties the list."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LIST = ROOT / "tools" / "unformatted.txt"
FORMAT = "clang-format-14"  # another version breaks lines elsewhere


def main() -> int:
    files = subprocess.run(["git", "ls-files", "*.cc", "*.h"], cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()
    if "--fix" in sys.argv:
        subprocess.run([FORMAT, "-i", *files], cwd=ROOT, check=True)
        LIST.unlink(missing_ok=True)
        return 0
    pinned = set(LIST.read_text().split()) if LIST.exists() else set()
    checked = [file for file in files if file not in pinned]
    done = subprocess.run([FORMAT, "--dry-run", "-Werror", *checked], cwd=ROOT, capture_output=True, text=True)
    wrong = sorted({line.split(":")[0] for line in done.stderr.splitlines() if "error:" in line})
    for file in wrong:
        print(f"{file}: not as {FORMAT} leaves it: run {FORMAT} -i {file}")
    if done.returncode == 0:
        print(f"format: {len(checked)} files are as they should be, {len(files) - len(checked)} are yet to be formatted")
    return 1 if done.returncode else 0


if __name__ == "__main__":
    sys.exit(main())
