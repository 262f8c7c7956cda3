#!/usr/bin/env python3
"""Files have at most 800 lines; functions should have at most 60 and must have at most 80. A
function is what stands between a brace at column 0 and the next closing one."""
import re

from source import Report, code_only, files, read

FILE_LIMIT = 800
FUNCTION_GOAL = 60
FUNCTION_LIMIT = 80


def functions(text):
    """Yields (name, line, length) of each function."""
    lines = text.split("\n")
    start = None
    for number, line in enumerate(lines, 1):
        if line.startswith("{") and start is None:
            start = number
        elif line.startswith("}") and start is not None:
            head = "\n".join(lines[max(0, start - 12) : start - 1])
            named = re.findall(r"^(\w+)\s*\(", head, re.M)
            if named:
                yield named[-1], start, number - start - 1
            start = None


def main():
    report = Report("sizes")
    sources = files(".c", ".h")
    for path in sources + files(".sql", under=("sql/parts",)):
        length = read(path).count("\n")
        if length > FILE_LIMIT:
            report.add(path, length, f"{length} lines; a file has at most {FILE_LIMIT}")
    count = 0
    for path in sources:
        for name, line, length in functions(code_only(read(path))):
            count += 1
            if length > FUNCTION_LIMIT:
                report.add(path, line, f"{name}() has {length} lines; the limit is {FUNCTION_LIMIT}")
            elif length > FUNCTION_GOAL:
                print(f"{path}:{line}: note: {name}() has {length} lines; {FUNCTION_GOAL} is the goal")
    report.finish(f"{len(sources)} files, {count} functions")


main()
