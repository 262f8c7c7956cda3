#!/usr/bin/env python3
"""The C files keep to .clang-format where that tool and PostgreSQL's style agree: indentation of
statements, braces on lines of their own, one statement a line, return types on their own line. Where
a statement is broken and how its parts are spaced is free, so both sides are compared statement by
statement without blanks. No line is longer than 100 columns, unless a string literal ends it.
clang-format 14 is Debian 12's; other versions format differently."""
import difflib
import os
import re
import subprocess
import tempfile

from source import TOP, Report, files, read, without_comments

COLUMNS = 100
OPEN_END = re.compile(r"([,(|&=<>?+*/-]|(?<!case)[^\w)]:|\\)$")
OPEN_HEAD = re.compile(r"^(&&|\|\||[?:+/,)|]|\}|\".*)")


def depth_of(text):
    """Open parentheses, brackets, and braces of initializers."""
    plain = re.sub(r'"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\'', "", text)
    depth = plain.count("(") + plain.count("[") - plain.count(")") - plain.count("]")
    if re.search(r"[=,(]\s*\{|\)\s*\{.*[^\s]", plain):
        depth += plain.count("{") - plain.count("}")
    return depth


def statements(text):
    """(line number, indentation and text without blanks) of each logical line."""
    found = []
    open_line = None
    for number, line in enumerate(without_comments(text).split("\n"), 1):
        body = line.strip()
        if not body:
            continue
        if open_line is not None:
            start, indent, head = open_line
            joins = depth_of(head) > 0 or OPEN_END.search(head) or (
                OPEN_HEAD.match(body) and not body.startswith("}") and not head.endswith((";", "{", "}")))
            if joins:
                open_line = (start, indent, head + " " + body)
                continue
            found.append((start, indent + re.sub(r"[\s\\]", "", head)))
        indent = line[: len(line) - len(line.lstrip())].replace("    ", "\t")
        open_line = (number, indent, body)
    if open_line is not None:
        found.append((open_line[0], open_line[1] + re.sub(r"[\s\\]", "", open_line[2])))
    return [(n, re.sub(r",\}", "}", t)) for n, t in found]


def check_columns(report, path, text):
    for number, line in enumerate(text.split("\n"), 1):
        width = len(line.expandtabs(4))
        if width > COLUMNS and not re.search(r'"[^"]*"[);,]*$', line):
            report.add(path, number, f"{width} columns; the limit is {COLUMNS}")


def main():
    report = Report("format")
    paths = files(".c", ".h")
    with tempfile.NamedTemporaryFile("w", suffix=".clang-format") as style:
        style.write(re.sub(r"^ColumnLimit:.*", "ColumnLimit: 0", read(".clang-format"), flags=re.M))
        style.flush()
        for path in paths:
            text = read(path)
            check_columns(report, path, text)
            formatted = subprocess.run(
                [os.environ.get("CLANG_FORMAT", "clang-format-14"), f"--style=file:{style.name}", path],
                cwd=TOP, capture_output=True, text=True, check=True).stdout
            ours, theirs = statements(text), statements(formatted)
            matcher = difflib.SequenceMatcher(None, [t for _, t in ours], [t for _, t in theirs], autojunk=False)
            for kind, a, b, c, d in matcher.get_opcodes():
                if kind != "equal":
                    line = ours[min(a, len(ours) - 1)][0]
                    report.add(path, line, f"clang-format writes this otherwise: {[t for _, t in ours[a:b]][:2]} "
                                           f"is {[t for _, t in theirs[c:d]][:2]}")
    report.finish(f"{len(paths)} files")


main()
