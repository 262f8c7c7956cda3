"""The schema of broadcasts (doc/broadcast.schema.json) beside the parser that it describes.

broadcasts.py keys TOP        compares its keys with those in src/broadcasts/read.c and of the test with parse_test.c
broadcasts.py cases TOP N     prints definitions as lines of COPY, as journeys.py does: those of test/sql, test/jobs
                              and the README, and N variants of them
"""
import json
import pathlib
import random
import re
import sys

import journeys


def keys_in(path, name):
    """The first list of keys of this name in a file of the parser."""
    return journeys.strings(re.search(r"const %s\[\] = \{(.*?)\}" % name, path.read_text(), re.S).group(1))


def compare_keys(top):
    schema = json.loads((top / "doc/broadcast.schema.json").read_text())
    test = schema["$defs"]["test"]["properties"]
    parse_test = top / "src/journeys/parse/parse_test.c"
    # What becomes of the rest only a step of a journey says.
    pairs = [
        ("a broadcast", keys_in(top / "src/broadcasts/read.c", "keys"), set(schema["properties"])),
        ("a test", keys_in(parse_test, "keys") - {"rest"}, set(test)),
        ("measure", keys_in(parse_test, "measure_keys"), set(test["measure"]["properties"])),
    ]
    wrong = [f"{what}: {sorted(parser ^ written)}" for what, parser, written in pairs if parser != written]
    print("\n".join(wrong) if wrong else "the keys are the same")
    return bool(wrong)


def print_cases(top, n):
    import jsonschema

    schema = json.loads((top / "doc/broadcast.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    chance = random.Random(7)
    given = [found for found in journeys.found_in(top) if "audience" in found or "resend_of" in found]
    variants = [journeys.variant(chance.choice(given), chance) for _ in range(n)]
    for number, case in enumerate(given + variants):
        text = json.dumps(case, ensure_ascii=True).replace("\\", "\\\\")
        print("%s\t%s\t%s" % ("f" if number < len(given) else "t", "t" if validator.is_valid(case) else "f", text))
    return 0


if __name__ == "__main__":
    root = pathlib.Path(sys.argv[2])
    sys.exit(compare_keys(root) if sys.argv[1] == "keys" else print_cases(root, int(sys.argv[3])))
