#!/usr/bin/env python3
"""report.py FOLDER: the errors in valgrind's logs, each place once, with how often it was met.

A place is the kind of error and the functions on top of the stack. The same error in many processes
is one line of work, so it is shown in full once, with the suppression valgrind offers for it. The
exit code is 1 when there is an error."""
import os
import re
import sys

BLOCK = re.compile(r"VALGRINDERROR-BEGIN\n(.*?)VALGRINDERROR-END(?:\n(\{\n.*?\n\}\n))?", re.S)
FRAME = re.compile(r"^ *(?:at|by) 0x[0-9A-F]+: (\S+)", re.M)
PREFIX = re.compile(r"^(?:==|\*\*)[0-9:. ]*\d+(?:==|\*\*) ?", re.M)


def main(folder):
    places = {}
    processes = 0
    for name in sorted(os.listdir(folder)):
        if not name.endswith(".log"):
            continue
        processes += 1
        with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
            text = PREFIX.sub("", file.read())
        for block, suppression in BLOCK.findall(text):
            lines = [line.strip() for line in block.split("\n") if line.strip()]
            kind = re.sub(r"0x[0-9A-F]+|\d+", "N", lines[0]) if lines else "?"
            place = (kind, tuple(FRAME.findall(block)[:5]))
            found = places.setdefault(place, [0, name, block, suppression])
            found[0] += 1
    for count, name, block, suppression in sorted(places.values(), key=lambda found: -found[0]):
        print(f"--- {count} times, first in {name}\n{block.rstrip()}\n{suppression}")
    print(f"valgrind: {len(places)} places with errors in the logs of {processes} processes")
    return 1 if places or processes == 0 else 0


sys.exit(main(sys.argv[1]))
