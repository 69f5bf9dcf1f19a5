#!/usr/bin/env python3
"""The library gives away what the public headers declare, and nothing else: check_exports.py libvivace.so

Weak symbols of other namespaces are templates of the standard library, which any program has."""

import re
import subprocess
import sys
from pathlib import Path

HEADERS = Path(__file__).resolve().parent.parent / "include" / "vivace"
# What a compiler makes of a class: its tables, and functions that nobody wrote.
PREFIX = re.compile(r"^(vtable for|typeinfo for|typeinfo name for|VTT for|(non-)?virtual thunk to|guard variable for) ")


def undeclared(lines: list[str], declared: set[str]) -> list[str]:
    """Of nm's lines."""
    wrong = []
    for line in lines:
        _, kind, symbol = line.split(maxsplit=2)
        name = PREFIX.sub("", symbol)
        ours = name.startswith("vivace::") or name.startswith("vivace_")  # C++ and C
        if not ours and kind in "WVu" or name.startswith("__odr_asan."):  # the latter are AddressSanitizer's, one for each variable
            continue
        words = re.findall(r"\w+", re.sub(r"\[abi:\w+\]", "", name.split("(")[0].split("<")[0]))
        if not ours or any(word not in declared for word in words):
            wrong.append(f"{sys.argv[1]} exports {symbol}, which no public header declares")
    return wrong


def main() -> int:
    declared = set(re.findall(r"\w+", "".join(path.read_text() for path in HEADERS.glob("*.h"))))
    lines = subprocess.run(["nm", "-DC", "--defined-only", sys.argv[1]], check=True, capture_output=True, text=True).stdout.splitlines()
    wrong = undeclared(lines, declared)
    print("\n".join(wrong) if wrong else f"exports: the public headers declare all of {sys.argv[1]}")
    return 1 if wrong or not lines else 0


if __name__ == "__main__":
    sys.exit(main())
