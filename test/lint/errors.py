#!/usr/bin/env python3
"""Errors a user can meet are ereport() with an errcode and texts in PostgreSQL's style; elog(ERROR)
is for what cannot happen and says so with "cannot happen"."""
import re

from source import Report, files, line_of, read, statement_at, without_comments


def literal_of(statement, position):
    """The string literals that begin at position, joined; None if something else stands there."""
    match = re.compile(r'\s*(?:_\(\s*)?((?:"(?:\\.|[^"\\\n])*"\s*)+)').match(statement, position)
    return "".join(re.findall(r'"((?:\\.|[^"\\\n])*)"', match.group(1))) if match else None


def check_elog(report, path, text):
    for match in re.finditer(r"\belog\s*\(\s*ERROR\b", text):
        if "cannot happen" not in statement_at(text, match.start()):
            report.add(path, line_of(text, match.start()),
                       'elog(ERROR) without "cannot happen": use ereport with an errcode')


def check_texts(report, path, text, match):
    """Sentences for hints and details, a phrase without a full stop for the message."""
    statement = statement_at(text, match.start())
    line = line_of(text, match.start())
    if re.match(r"ereport\s*\(\s*(ERROR|FATAL)\b", statement) and not re.search(r"errcode\w*\s*\(|ERRCODE", statement):
        report.add(path, line, "ereport(ERROR) without an errcode")
    for part in re.finditer(r"\b(errmsg|errdetail|errhint)\s*\(", statement):
        literal = literal_of(statement, part.end())
        if not literal:
            continue
        if part.group(1) == "errmsg":
            if literal.endswith(".") and not literal.endswith("..."):
                report.add(path, line, f'the message ends with a full stop: "{literal}"')
            if re.match(r"[A-Z][a-z]+ ", literal):
                report.add(path, line, f'the message begins with a capital letter: "{literal}"')
        elif not re.search(r"(?:[.?!:]|%\w+)$", literal):
            report.add(path, line, f'{part.group(1)} is not a whole sentence: "{literal}"')


def main():
    report = Report("errors")
    paths = files(".c", ".h")
    for path in paths:
        raw = read(path)
        text = without_comments(raw)
        check_elog(report, path, text)
        for match in re.finditer(r"\bereport\s*\(", text):
            check_texts(report, path, text, match)
    report.finish(f"{len(paths)} files")


main()
