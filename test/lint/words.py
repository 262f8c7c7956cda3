#!/usr/bin/env python3
"""No left-over words, no paths of one machine, no trailing blanks in any text file of the tree."""
import os
import re
import subprocess

from source import TOP, Report, read

WORDS = [
    (r"\b(TODO|FIXME|XXX|HACK|TBD|WIP)\b", "says that something is unfinished"),
    (r"(?i)\bnot (yet )?implemented\b|\bunimplemented\b|\bplaceholder implementation\b",
     "says that something is unfinished"),
    (r"(?i)\bstub(s|bed)?\b", "says that something is unfinished"),
    (r"(?<![\w.$}])/(work|home/\w+|root)/", "a path of one machine"),
    (r"(?i)^(<{7}|>{7}|={7}$)", "a left-over of a merge"),
]
# Expected outputs are what psql prints, with blanks at line ends; this file names the words.
SKIP = re.compile(r"\.(out|png|gz|zst|mmdb)$|^test/lint/words\.py$|^LICENSE$")
BLANKS_STAY = re.compile(r"\.(md|patch)$")


def tree():
    """The files of the tree that git does not ignore, with or without git."""
    listed = subprocess.run(["git", "-c", "safe.directory=*", "-C", TOP, "ls-files", "-co", "--exclude-standard"],
                            capture_output=True, text=True)
    if listed.returncode == 0:
        return sorted(set(listed.stdout.splitlines()))
    found = []
    for at, folders, names in os.walk(TOP):
        folders[:] = [f for f in folders if f != ".git"]
        found += [os.path.relpath(os.path.join(at, n), TOP) for n in names]
    return sorted(found)


def main():
    report = Report("words")
    count = 0
    for path in tree():
        if SKIP.search(path) or not os.path.isfile(os.path.join(TOP, path)):
            continue
        try:
            text = read(path)
        except UnicodeDecodeError:
            continue
        if "\0" in text:
            continue
        count += 1
        for number, line in enumerate(text.split("\n"), 1):
            for pattern, reason in WORDS:
                match = re.search(pattern, line)
                if match:
                    report.add(path, number, f'"{match.group(0)}": {reason}')
            if re.search(r"[ \t]+$", line) and not BLANKS_STAY.search(path):
                report.add(path, number, "blanks at the end of the line")
        if text and not text.endswith("\n"):
            report.add(path, text.count("\n") + 1, "the last line has no end")
    report.finish(f"{count} files")


main()
