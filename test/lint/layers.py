#!/usr/bin/env python3
"""Rooms include only their own headers and the public header of lower layers, and some calls
belong to one place only."""
import os
import re

from source import TOP, Report, code_only, files, line_of, read

LAYERS = {
    "base": 0,
    "worker": 1,
    "contacts": 2, "rules": 2, "consent": 2, "content": 2,
    "segments": 3, "scoring": 3, "delivery": 3,
    "journeys": 4, "broadcasts": 4, "web": 4,
    "analytics": 5, "admin": 5, "recipes": 5,
}

# Within a layer only these look sideways. A broadcast is a journey.
SIDEWAYS = {("rules", "contacts"), ("consent", "contacts"), ("content", "contacts"),
            ("broadcasts", "journeys")}

# What, where it may stand (a path or a folder), and why. src/web/server is a program of its own, not
# server code.
PLACES = [
    (r"\bSPI_\w+", ["src/base/spi.c"], "only base/spi.c talks to SPI"),
    (r"\bPG_VERSION_NUM\b", ["src/base/compat.h"], "only base/compat.h knows server versions"),
    (r"\b(DefineCustom\w+Variable|MarkGUCPrefixReserved|EmitWarningsOnPlaceholders)\b",
     ["src/base/guc.c"], "only base/guc.c defines settings"),
    (r"\b(WaitLatch\w*|WaitEventSetWait|Register(Dynamic|)BackgroundWorker|proc_exit|pg_usleep|"
     r"pqsignal|BackgroundWorkerUnblockSignals)\s*\(",
     ["src/worker/", "src/web/server/"], "only worker/ waits, registers workers and ends processes"),
    (r"\b(sleep|usleep|nanosleep|pthread_create)\s*\(", ["src/web/server/"],
     "server code neither sleeps nor makes threads"),
    (r"\b(StartTransactionCommand|CommitTransactionCommand|AbortCurrentTransaction)\s*\(",
     ["src/worker/"], "only worker/ begins and ends transactions"),
    (r"#\s*include\s*<curl/", ["src/delivery/"], "only delivery/ knows curl"),
    (r"#\s*include\s*<microhttpd\.h>", ["src/web/server/"], "only web/ knows microhttpd"),
]


def room_of(path):
    parts = path.split("/")
    return parts[1] if len(parts) > 2 else None


def check_includes(report, path, code):
    room = room_of(path)
    for match in re.finditer(r'^[ \t]*#[ \t]*include[ \t]*"([^"]+)"', code, re.M):
        name, line = match.group(1), line_of(code, match.start())
        other, _, header = name.partition("/")
        if not other:
            if os.path.exists(os.path.join(TOP, os.path.dirname(path), name)):
                report.add(path, line, f'write "{name}" with its folder')
            continue
        if ".." in name:
            report.add(path, line, f'"{name}": includes name the folder below src/')
            continue
        if other not in LAYERS or other == room:
            continue
        if header != f"{other}.h":
            report.add(path, line, f'"{name}" is private to src/{other}; only {other}/{other}.h is public')
        elif room is not None and LAYERS[other] >= LAYERS.get(room, 0) and (room, other) not in SIDEWAYS:
            report.add(path, line, f'src/{room} is layer L{LAYERS.get(room, 0)} and may not include '
                                   f'"{name}" of layer L{LAYERS[other]}')


def main():
    report = Report("layers")
    paths = files(".c", ".h")
    for room in sorted({room_of(p) for p in paths} - {None} - set(LAYERS)):
        report.add(f"src/{room}", 1, "this room has no layer: add it to the table in test/lint/layers.py")
    for path in paths:
        code = code_only(read(path))
        check_includes(report, path, code)
        for pattern, places, reason in PLACES:
            if any(path == p or (p.endswith("/") and path.startswith(p)) for p in places):
                continue
            for match in re.finditer(pattern, code):
                report.add(path, line_of(code, match.start()),
                           f"{match.group(0).rstrip('( ')}: {reason}")
    report.finish(f"{len(paths)} files")


main()
