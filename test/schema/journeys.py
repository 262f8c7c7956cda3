"""The schema of journeys (doc/journey.schema.json) beside the parser that it describes.

journeys.py keys TOP        compares its keys with those in src/journeys/parse/parse*.c
journeys.py cases TOP N     prints definitions as lines of COPY: valid by the schema (t or f), the
                            definition: those of test/sql, test/jobs and the README, and N variants of
                            them with a key more, a key less, or a value of another kind
"""
import json
import pathlib
import random
import re
import sys

# Which of the schema's parts a list of keys in the parser is for: function, or kind of step.
PARTS = {
    "ma_program_parse": [""],
    "parse_entry_event": ["entry_event", "entry_segment_entered", "entry_segment_left"],
    "parse_entry_date": ["entry_date", "entry_anniversary"],
    "parse_entry_schedule": ["entry_schedule"],
    "parse_max_entries": ["max_entries/oneOf/1"],
    "parse_reentry": ["reentry/oneOf/1"],
    "parse_exits": ["exit/oneOf/0", "exit/oneOf/1"],
    "ma_read_goals": ["goal"],
    "parse_milestones": ["milestone"],
    "parse_wait_condition": ["wait_condition/oneOf/0", "wait_condition/oneOf/1"],
    "parse_split": ["step_split/properties/split/items/oneOf/0", "step_split/properties/split/items/oneOf/1"],
    "parse_branch": ["step_branch/properties/branch/items/oneOf/0", "step_branch/properties/branch/items/oneOf/1"],
    "ma_test_parse": ["test"],
    "ma_read_window": ["window"],
    "ma_read_time_step": ["time_step/oneOf/0", "time_step/oneOf/1", "time_step/oneOf/2", "time_step/oneOf/3"],
    "ma_read_quiet": ["quiet_hours"],
}


def part(schema, place):
    at = schema["$defs"] if place else schema
    for word in place.split("/") if place else []:
        at = at[int(word)] if isinstance(at, list) else at[word]
    return schema["$defs"][at["$ref"].rsplit("/", 1)[1]] if "$ref" in at else at


def keys_of(schema, places):
    return set().union(*(part(schema, place)["properties"] for place in places))


def strings(text):
    return set(re.findall(r'"([a-z_]+)"', text))


def compare_keys(top):
    """Every list of keys of the parser, against the part of the schema."""
    schema = json.loads((top / "doc/journey.schema.json").read_text())
    wrong = []
    seen = set()
    for path in sorted((top / "src/journeys/parse").glob("parse*.c")):
        source = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.S)
        later = strings("".join(re.findall(r"later_\w+\[\] = \{(.*?)\}", source, re.S)))
        for match in re.finditer(r"const keys\[\] = \{(.*?)\}", source, re.S):
            function = re.findall(r"^(\w+)\(.*\)?$", source[: match.start()], re.M)[-1]
            seen.add(function)
            keys = strings(match.group(1)) - later
            if function not in PARTS:
                wrong.append(f"{path.name}: {function}() has keys of which test/schema/journeys.py knows nothing")
            elif keys != keys_of(schema, PARTS[function]) and keys | later != keys_of(schema, PARTS[function]) | later:
                wrong.append(f"{path.name}: {function}(): {sorted(keys ^ keys_of(schema, PARTS[function]))}")
        for name, keys in re.findall(r'\{"(\w+)", MA_STEP_\w+, \{([^}]*)\}\}', source):
            seen.add("step_" + name)
            if "step_" + name not in schema["$defs"]:
                wrong.append(f"step {name} is not in the schema")
            elif strings(keys) != keys_of(schema, ["step_" + name]):
                wrong.append(f"step {name}: {sorted(strings(keys) ^ keys_of(schema, ['step_' + name]))}")
    wrong += [f"the schema has {name}, the parser not" for name in schema["$defs"] if name.startswith("step_") and name not in seen]
    wrong += [f"the parser has no {function}() any more" for function in PARTS if function not in seen and function not in ("ma_read_goals", "parse_milestones")]
    print("\n".join(wrong) if wrong else f"{len(seen)} lists of keys are the same")
    return bool(wrong)


def found_in(top):
    """Objects of JSON in the tests and the README, as far as each is one text."""
    texts = [top / "README.md", *sorted((top / "test/sql").glob("*.sql")), *sorted((top / "test/jobs").glob("*.sql"))]
    for path in texts:
        text = path.read_text()
        for dollars, quoted in re.findall(r"\$\$\s*(\{.*?\})\s*\$\$|'(\{(?:[^']|'')*\})'", text, re.S):
            try:
                found = json.loads(dollars or quoted.replace("''", "'"))
            except ValueError:
                continue
            if isinstance(found, dict):
                yield found


def definitions(top):
    """What they hand to define_journey()."""
    return (found for found in found_in(top) if "steps" in found)


def places(value):
    """All objects and arrays in it."""
    yield value
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, (dict, list)) and inner:
            yield from places(inner)


def variant(definition, chance):
    changed = json.loads(json.dumps(definition))
    place = chance.choice(list(places(changed)))
    key = chance.choice(list(place) if isinstance(place, dict) else range(len(place)))
    how = chance.randrange(3)
    if how == 0 and isinstance(place, dict):
        place[chance.choice(["tempo", "event", "id", "else", "then", "steps", "zone"])] = chance.choice(["2 days", [], {}])
    elif how == 1:
        del place[key]
    else:
        place[key] = chance.choice([None, True, 0, -3, 1.5, "", "word", "2 days", [], {}, ["word"], {"word": 1}])
    return changed


def print_cases(top, n):
    import jsonschema

    schema = json.loads((top / "doc/journey.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    chance = random.Random(7)
    cases = list(definitions(top))
    given = len(cases)
    while len(cases) < given + n:
        # One that is an object no more is refused before all else.
        cases.append(variant(cases[chance.randrange(given)], chance))
    for number, case in enumerate(cases):
        text = json.dumps(case, ensure_ascii=True).replace("\\", "\\\\")
        print("%s\t%s\t%s" % ("f" if number < given else "t", "t" if validator.is_valid(case) else "f", text))
    return 0


if __name__ == "__main__":
    root = pathlib.Path(sys.argv[2])
    sys.exit(compare_keys(root) if sys.argv[1] == "keys" else print_cases(root, int(sys.argv[3])))
