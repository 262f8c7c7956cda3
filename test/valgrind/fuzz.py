#!/usr/bin/env python3
"""fuzz.py FILE.sql SEED VARIANTS: the file for psql, with damaged copies of its statements.

Before each query and each change of rows stand VARIANTS copies of it, more of one with many
literals, in which some literals are damaged: cut off, doubled, with a piece taken out, with odd
characters and numbers put in; or, of JSON, with other values and keys. They are rolled back, so that
the file itself goes on as it was written. A text that ends in the middle of what its reader expects
is what makes a reader run over the end, and the regress files show every reader.
A FILE.json is a suite of Liquid cases (test/lib/golden_liquid.sql says of what form)."""
import json
import random
import re
import sys

# A piece of SQL: what the borders of literals and statements are found by.
TOKEN = re.compile(r"""--[^\n]*|/\*.*?\*/|(?P<text>[Ee]?'(?:[^']|'')*')|(?P<dollar>\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)"""
                   r"""|"(?:[^"]|"")*"|^\\[^\n]*|\\g\w*[^\n]*|;|[^-/'$"\\;Ee]+|.""", re.S | re.M)
# Transactions, and what cannot run in one, stay as they are; so do sessions' settings.
PLAIN = re.compile(r"\s*(begin|start|commit|end|rollback|abort|prepare|savepoint|release|set|reset|show|drop\s+database"
                   r"|create\s+database|vacuum|do|copy|call|create|drop|grant|alter)\b", re.I)
ODD = ["'", '"', "\\", "{", "}", "{{", "}}", "{%", "%}", "|", ":", "(", ")", "[", "]", ".", ",", "-", "+", "%", "\n", "\r", "\t",
       "\u00e9", "\u0130", "\u20ac", "\U0001f600", "\u200d", "\u0000", "0", "-1", "9223372036854775807", "9223372036854775808", "1e300",
       "1.5", ".5", "1e-400", "NaN", "null", "true", "&", "&#", "&#x", "&amp", "<", "</", "<!--", "=?", "?=", "@", "/", "*/", "  "]


def statements(source):
    """Yields (text, tokens) of each statement, of each comment and of each command of psql."""
    piece = []
    for match in TOKEN.finditer(source):
        word = match.group(0)
        piece.append(match)
        if word == ";" or word.startswith("\\"):
            yield piece
            piece = []
    if piece:
        yield piece


def damage(text, chance):
    """One to three changes of a text."""
    for _ in range(chance.randint(1, 3)):
        at = chance.randint(0, len(text))
        to = min(len(text), at + chance.choice([1, 1, 2, 5, 20]))
        kind = chance.randint(0, 5)
        if kind == 0:
            text = text[:at]
        elif kind == 1:
            text = text[:at] + text[to:]
        elif kind == 2:
            text = text[:at] + chance.choice(ODD) + text[at:]
        elif kind == 3:
            text = text[:at] + chance.choice(ODD) + text[to:]
        elif kind == 4:
            text = text[:to] + text[at:]
        else:
            text = text[:at] + text[at:to] * chance.choice([2, 50]) + text[to:]
    return text.replace("\0", "")


def json_places(value, found):
    """All (container, key) of a JSON value."""
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        found.append((value, key))
        json_places(value[key], found)
    return found


def damage_json(text, chance):
    """The text as JSON that is still JSON but with other values, or None if it is no object or array."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    places = json_places(value, [])
    if not places:
        return None
    for container, key in chance.sample(places, min(len(places), chance.randint(1, 2))):
        old = container.get(key) if isinstance(container, dict) else container[key]
        new = chance.choice([None, True, 0, -1, 1.5, 10 ** 25, "", "x" * 300, [], {}, [[]], {"a": {}}, [old, old], {"x": old},
                             damage(old, chance) if isinstance(old, str) else str(old)])
        if isinstance(container, dict) and chance.random() < 0.3:
            container[damage(key, chance)] = container.pop(key, None)
        else:
            container[key] = new
    return json.dumps(value).replace("\\u0000", "")


def damaged_text(text, chance):
    other = damage_json(text, chance) if chance.random() < 0.6 else None
    return damage(text, chance) if other is None else other


def spelled_out(source):
    """The source with psql's variables of statements put in, since literals begin in them."""
    for name, value in re.findall(r"^\\set (\w+) '(.*)'$", source, re.M):
        value = value.replace("''", "'")
        source = re.sub(rf"(?<![:\w]):{name}\b", lambda _, value=value: value, source)
    return source


def damaged(piece, chance):
    """The statement with one to two of its literals damaged, or None if it has none."""
    literals = [match for match in piece if match.group("text") or match.group("dollar")]
    if not literals:
        return None
    chosen = {match.start() for match in chance.sample(literals, min(len(literals), chance.randint(1, 2)))}
    out = []
    for match in piece:
        word = match.group(0)
        if match.start() not in chosen:
            out.append(word)
        elif match.group("dollar"):
            mark = f"${match.group('tag')}$"
            inner = damaged_text(word[len(mark):-len(mark)], chance).replace("$", "")
            out.append(mark + inner + mark)
        else:
            # As an escape string: neither quotes nor backslashes can end it early.
            inner = word[word.index("'") + 1:-1].replace("''", "'")
            out.append("E'" + damaged_text(inner, chance).replace("\\", "\\\\").replace("'", "''") + "'")
    return "".join(out)


def liquid(path):
    """A suite of Liquid cases as statements."""
    with open(path, encoding="utf-8") as file:
        cases = json.load(file)["tests"]
    lines = []
    for case in cases:
        words = [case["template"], json.dumps(case.get("data", {}))]
        quoted = ["E'" + word.replace("\\", "\\\\").replace("'", "''") + "'" for word in words]
        lines.append(f"SELECT marketing.render_liquid({quoted[0]}, {quoted[1]});")
    return "CREATE EXTENSION marketing_automation;\n" + "\n".join(lines) + "\n"


def main(path, seed, variants):
    chance = random.Random(f"{seed} {path.rsplit('/', 1)[-1]}")
    if path.endswith(".json"):
        source = liquid(path)
    else:
        with open(path, encoding="utf-8") as file:
            source = spelled_out(file.read())
    out = ["SET statement_timeout = '60s';\n"]
    inside = False
    for piece in statements(source):
        text = "".join(match.group(0) for match in piece)
        bare = re.sub(r"^\s*(--[^\n]*\n\s*)*", "", text)
        if not PLAIN.match(bare) and not bare.startswith("\\"):
            literals = sum(1 for match in piece if match.group("text") or match.group("dollar"))
            for _ in range(variants * (1 + literals // 5)):
                variant = damaged(piece, chance)
                if variant is not None and not inside:
                    out.append("\nBEGIN;" + variant + "\nROLLBACK;")
                elif variant is not None:
                    out.append("\nSAVEPOINT fuzz;" + variant + "\nROLLBACK TO fuzz; RELEASE fuzz;")
        if re.match(r"(begin|start)\b", bare, re.I):
            inside = True
        elif re.match(r"(commit|end|rollback|abort|prepare\s+transaction)\b(?!\s+to)(?!\s+prepared)", bare, re.I):
            inside = False
        out.append(text)
    sys.stdout.write("".join(out))


main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
