"""The line in which a node says how it ran, said in the words of another language, as web/lines.js does it."""

import json
import re
from functools import partial

from exact_vae.nodes.translations import FOLDER

HOLE = r"\{(\w+)\}"


def table(language: str) -> dict:
    return json.loads((FOLDER / language / "main.json").read_text(encoding="utf-8"))["exactVae"]


class Sayer:
    """Says lines in the words of another table, as web/lines.js does. used: the keys of the templates it took."""

    def __init__(self, own: dict):
        self.english, self.own, self.used = table("en"), own, set[str]()
        self.patterns = {key: re.compile(to_regex(template)) for key, template in self.english["lines"].items()}

    def __call__(self, line: str) -> str:
        said = [self.translate(part) for part in line.split(self.english["semicolon"])]
        assert None not in said, line
        return self.own["semicolon"].join(filter(None, said))

    def translate(self, part: str) -> str | None:
        parts = [self.match(one) for one in part.split(self.english["comma"])]
        return self.match(part) if None in parts else self.own["comma"].join(filter(None, parts))

    def match(self, part: str) -> str | None:
        for key, pattern in self.patterns.items():
            if found := pattern.fullmatch(part):
                self.used.add(key)
                return re.sub(HOLE, partial(self.fill, found), self.own["lines"][key])
        return None

    def fill(self, found: re.Match, hole: re.Match) -> str:
        value = found[hole[1]]
        said = hole[1] in ("pieces", "what", "where", "frames", "latentFrames") and self.translate(value)
        return said or value


def to_regex(template: str) -> str:
    pieces = re.split(HOLE, template)  # text, name, text, name, ..., text
    holes = {name: f"(?P<{name}>{'[0-9]+' if name in ('n', 'm') else '.+'})" for name in pieces[1::2]}
    return "".join(holes[piece] if i % 2 else re.escape(piece) for i, piece in enumerate(pieces))
