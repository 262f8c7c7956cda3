"""What the source lints share: the files of src/, C text without comments, and the report."""
import os
import re
import sys

TOP = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))


def files(*endings, under=("src",)):
    """Paths, relative to the top, of the files with one of the endings, sorted."""
    found = []
    for folder in under:
        for at, folders, names in os.walk(os.path.join(TOP, folder)):
            folders[:] = [f for f in folders if not f.startswith(".")]
            found += [os.path.relpath(os.path.join(at, n), TOP) for n in names if n.endswith(endings)]
    return sorted(found)


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as file:
        return file.read()


def blank(match):
    """The matched text with everything but line ends as spaces, so that places stay."""
    return re.sub(r"[^\n]", " ", match.group(0))


def without_comments(text):
    """C text with its comments blanked; string literals stay."""
    return re.sub(
        r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|/\*.*?\*/|//[^\n]*',
        lambda m: blank(m) if m.group(0)[0] == "/" else m.group(0),
        text,
        flags=re.S,
    )


def code_only(text):
    """C text with comments and string literals blanked; #include lines keep their names."""
    return re.sub(
        r'^[ \t]*#[ \t]*include[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'',
        lambda m: m.group(0) if "include" in m.group(0)[:20] and "#" in m.group(0)[:20] else blank(m),
        without_comments(text),
        flags=re.S | re.M,
    )


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def statement_at(text, position):
    """The text from position to the end of the statement."""
    depth = 0
    for match in re.compile(r'"(?:\\.|[^"\\\n])*"|[();]').finditer(text, position):
        token = match.group(0)
        depth += (token == "(") - (token == ")")
        if token == ";" and depth <= 0:
            return text[position : match.end()]
    return text[position:]


class Report:
    """Collects violations; finish() prints them and ends the program."""

    def __init__(self, name):
        self.name = name
        self.lines = []

    def add(self, path, line, message):
        self.lines.append(f"{path}:{line}: {message}")

    def finish(self, checked):
        for line in self.lines:
            print(line)
        verdict = f"{len(self.lines)} violations" if self.lines else "ok"
        print(f"lint {self.name}: {verdict} ({checked})")
        sys.exit(1 if self.lines else 0)
