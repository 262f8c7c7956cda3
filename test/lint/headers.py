#!/usr/bin/env python3
"""Every C file and header begins with a comment that names the file and says what it is for; every
header has an include guard. A C file that uses what miscadmin.h declares includes it: other headers of
the server bring it along up to PostgreSQL 17, but not in 18."""
import os
import re

from source import Report, files, read

MISCADMIN = re.compile(r"\b(CHECK_FOR_INTERRUPTS|(HOLD|RESUME)(_CANCEL)?_INTERRUPTS|MyLatch|MyProcPid|"
                       r"MyDatabaseId|MyBackendType|GetUserId|InterruptPending)\b")


def main():
    report = Report("headers")
    paths = files(".c", ".h")
    for path in paths:
        text, name = read(path), os.path.basename(path)
        comment = re.match(r"/\*(.*?)\*/", text, re.S)
        if not comment:
            report.add(path, 1, "begins with no header comment")
        else:
            words = comment.group(1).replace("*", " ").split()
            if not words or words[0] != name:
                report.add(path, 1, f"the header comment does not begin with the name {name}")
            elif len(words) < 5:
                report.add(path, 1, "the header comment does not say what the file is for")
        if name.endswith(".c") and MISCADMIN.search(text) and '#include "miscadmin.h"' not in text:
            report.add(path, 1, "uses what miscadmin.h declares and does not include it")
        if name.endswith(".h") and not re.search(r"^#ifndef MA_\w*H\n#define MA_\w*H$", text, re.M):
            report.add(path, 1, "has no include guard MA_..._H")
    report.finish(f"{len(paths)} files")


main()
