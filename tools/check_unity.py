#!/usr/bin/env python3
"""Whether files that are compiled as one (vivace_unity, vivace_test) have names of their own.

Names in anonymous namespaces of such files meet, where the namespace around them is the same. A second definition is an error of the compiler's, but a second function of the name is an overload, and
a call may silently choose it. What is named as one that stays alone (vivace_unity) may have any.
"""

import re
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NAMESPACE = re.compile(r"^namespace ([\w:]+) \{", re.M)
ANONYMOUS = re.compile(r"^namespace \{\n(.*?)^\}  // namespace$", re.S | re.M)
# At the beginning of a line: the name before a bracket, which is no keyword's, no macro's and no member's.
FUNCTION = re.compile(r"^(?!using|namespace|static_assert|TEST|INSTANT|[ /#}])[A-Za-z_][^=;{}\n]*?(?<![:\w])(\w+)\(", re.M)
TYPE = re.compile(r"^(?:struct|class|enum class|enum) (\w+)", re.M)


def words(text: str) -> list[str]:
    return re.sub(r"#.*", "", text).split()


def targets(lists: Path) -> list[list[Path]]:
    """Of a CMakeLists.txt: the files of each target that are compiled as one."""
    text = lists.read_text()
    calls = [(name, words(inside)) for name, inside in re.findall(r"(vivace_\w+|add_library|target_sources)\(([^()]*(?:\$\{[^}]*\}[^()]*)*)\)", text)]
    alone = {word for name, given in calls if name == "vivace_unity" for word in given[1:]}
    united = {given[0] for name, given in calls if name == "vivace_unity"}
    files = defaultdict(set)
    for name, given in calls:
        if name == "vivace_test":
            target = f"test_{given[0]}"
        elif name == "vivace_layer":
            target = f"vivace_{given[0]}"
        else:
            target = given[0]
        if name == "vivace_test" or target in united:
            files[target] |= {lists.parent / word for word in given[1:] if word.endswith(".cc") and "$" not in word and word not in alone}
    return [sorted(group) for group in files.values()]


def main() -> int:
    wrong = 0
    groups = [group for top in ("src", "apps", "tests") for lists in sorted((ROOT / top).rglob("CMakeLists.txt")) for group in targets(lists)]
    for group in groups:
        places = defaultdict(set)
        for file in group:
            text = file.read_text()
            for inside in ANONYMOUS.finditer(text):
                around = NAMESPACE.findall(text[: inside.start()])[-1:]
                for name in FUNCTION.findall(inside[1]) + TYPE.findall(inside[1]):
                    places[*around, name].add(file.relative_to(ROOT))
        for (*_, name), files in sorted(places.items()):
            if len(files) > 1:
                wrong += 1
                print(f"{name} stands in anonymous namespaces of {' and '.join(map(str, sorted(files)))}, which are compiled as one: rename it, or name a file alone")
    print(f"unity: {sum(map(len, groups))} files of {len(groups)} targets have names of their own" if not wrong else f"unity: {wrong} names meet")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
