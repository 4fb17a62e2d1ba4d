"""The help pages in other languages: web/docs/<node>/<language>.md, which the host asks for first."""

import json
import re
from pathlib import Path

import pytest
from exact_vae.nodes import NODE_CLASS_MAPPINGS
from exact_vae.nodes.translations import file_of
from support.lines import Sayer, table

DOCS = Path(__file__).parents[2] / "web" / "docs"
TEXTS = json.loads(file_of("zh").read_text(encoding="utf-8"))
ENGLISH = json.loads(file_of("en").read_text(encoding="utf-8"))
ROWS = {slot["name"] for node in ENGLISH.values() for kind in ("inputs", "outputs") for slot in node[kind].values()}
NODES = pytest.mark.parametrize("node", NODE_CLASS_MAPPINGS)
ENGLISH_WORDS = r"\b(the|of|and|is|are|which|that|its?|this|with|from|each|for|not|if|by|be|was)\b"


def read(node: str) -> tuple[str, str]:
    """The English page of a node and the Chinese one."""
    return (DOCS / f"{node}.md").read_text("utf-8"), (DOCS / node / "zh.md").read_text("utf-8")


def outline(page: str) -> dict[str, list]:
    """What must not differ: images, links, and how much stands under each heading."""
    sections = re.split(r"^## .*$", page, flags=re.MULTILINE)
    counts = [(section.count("\n| "), section.count("\n- ")) for section in sections]
    return {"targets": re.findall(r"\]\((.*?)\)", page), "rows and points": counts}


def rows(page: str, number: int) -> list[str]:
    """The first column of the table in this section, without its head."""
    section = re.split(r"^## .*$", page, flags=re.MULTILINE)[number]
    return re.findall(r"^\| (.+?) \|", section, re.MULTILINE)[1:]


@NODES
def test_it_has_what_the_english_page_has(node):
    english, page = read(node)
    assert page.startswith(f"# {TEXTS[node]['display_name']}\n")
    assert outline(page) == outline(english)


@NODES
def test_its_tables_name_the_rows_of_the_node(node):
    """Each by its name in the language and by the one that workflows have, in the order of the English page."""
    english, page = read(node)
    for number, kind in enumerate(("inputs", "outputs") if "## Outputs" in english else ("inputs",), 1):
        names = {slot["name"]: TEXTS[node][kind][key]["name"] for key, slot in ENGLISH[node][kind].items()}
        want = [[f"{names[name]} `{name}`" for name in re.findall(r"`(\w+)`", row)] for row in rows(english, number)]
        assert [row.split("\uff0c") for row in rows(page, number)] == want


@NODES
def test_it_keeps_numbers_and_code_and_says_lines_as_the_node_does(node):
    english, page = read(node)
    say = Sayer(table("zh"))
    for code in set(re.findall(r"`(.+?)`", english)) - ROWS:
        line = say.translate(code) if ", " in code or " as one clip" in code else None  # the node says it
        assert (line or code) in re.findall(r"`(.+?)`", page) or code.startswith("and "), code
    prose = re.sub(r"`.+?`", "", english)
    assert not set(re.findall(r"\d+(?:\.\d+)?", prose)) - set(re.findall(r"\d+(?:\.\d+)?", page))


@NODES
def test_it_is_chinese_and_calls_nodes_what_the_menu_calls_them(node):
    english, page = read(node)
    for one, texts in ENGLISH.items():
        assert texts["display_name"] not in english or TEXTS[one]["display_name"] in page, one
    prose = re.sub(r"`.+?`|\(.*?\)", "", page)
    assert not re.search(ENGLISH_WORDS, re.sub(r"^\| [\w, ]+ \|", "", prose, flags=re.MULTILINE))


def test_there_is_no_page_too_many():
    assert {path.parent.name for path in DOCS.glob("*/*.md")} == set(NODE_CLASS_MAPPINGS)
    assert {path.name for path in DOCS.glob("*/*.md")} == {"zh.md"}
