#!/usr/bin/env python3
"""Links of the pages to files and headings of the tree lead somewhere."""
import os
import re

from source import Report, read

PAGES = ["README.md", "CHANGELOG.md", "test/README.md"] + sorted("doc/" + name for name in os.listdir("doc") if name.endswith(".md"))


def anchors(path):
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", read(path), flags=re.S | re.M)
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def main():
    report = Report("links")
    count = 0
    for page in PAGES:
        for number, line in enumerate(read(page).split("\n"), 1):
            for target in re.findall(r"\]\(([^)\s]+)\)", line):
                if "://" in target:
                    continue
                count += 1
                name, _, anchor = target.partition("#")
                path = os.path.normpath(os.path.join(os.path.dirname(page), name)) if name else page
                if not os.path.exists(path):
                    report.add(page, number, f"{target}: there is no {path}")
                elif anchor and anchor not in anchors(path):
                    report.add(page, number, f"{target}: {path} has no such heading")
    report.finish(f"{len(PAGES)} pages, {count} links")


main()
