"""The texts of the nodes in each language, in the form that the host merges into its own (/i18n)."""

import json
import re
from itertools import product

import pytest
from exact_vae.nodes import NODE_CLASS_MAPPINGS
from exact_vae.nodes.translations import FOLDER, as_text, english, file_of
from exact_vae.vae_core import latents
from support.lines import table

TRANSLATED = ("es", "fr", "ja", "ko", "ru", "zh")
LANGUAGES = ("en", *TRANSLATED)
SCRIPTS = {
    "ja": "[\u3040-\u30ff\u4e00-\u9fff]",
    "ko": "[\uac00-\ud7a3]",
    "ru": "[\u0430-\u044f]",
    "zh": "[\u4e00-\u9fff]",
}
ENDS = {"ja": "\u3002", "zh": "\u3002\uff09"}  # full stops and a bracket as wide as a letter
ENGLISH_WORDS = r"\b(the|of|and|is|are|which|that|its?|this|with|from|each|for|not|if|by|be|was)\b"
CODE = r"%\w+%|#\w+|\[\w+\]|\w+(?:/\w+)+|(?<!\w)\.[a-z]\w+|\w*[a-z]\d\w*|\w+_\w+|\w+-\w+-\w+|\d+"


def texts(language: str) -> dict:
    return json.loads(file_of(language).read_text(encoding="utf-8"))


def flat(tree: dict, above: str = "") -> dict[str, str]:
    """Dotted path -> text."""
    found = {}
    for key, value in tree.items():
        path = f"{above}.{key}".removeprefix(".")
        found |= {path: value} if isinstance(value, str) else flat(value, path)
    return found


def beside_english(language: str) -> list[tuple[str, str, str]]:
    """(path, English text, its translation) of every description and tooltip."""
    found = flat(texts(language))
    told = {path: text for path, text in flat(english()).items() if re.search("description|tooltip", path)}
    return [(path, text, found[path]) for path, text in told.items()]


def menu(node: str, name: str) -> list[str]:
    types = NODE_CLASS_MAPPINGS[node].INPUT_TYPES()
    kind = {**types["required"], **types.get("optional", {})}[name][0]
    return kind if isinstance(kind, list) else []


def menus(node: str) -> list[str]:
    """All choices of a node, the longest first."""
    words = {str(word) for name in english()[node]["inputs"] for word in menu(node, name)}
    return sorted(words, key=len, reverse=True)


def test_there_are_these_languages():
    """The host takes every folder here for a language: of nodes it reads nodeDefs.json, and passes main.json on."""
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(LANGUAGES)
    for language in LANGUAGES:
        assert sorted(path.name for path in (FOLDER / language).iterdir()) == ["main.json", "nodeDefs.json"]


def test_the_english_file_is_that_of_the_classes():
    assert file_of("en").read_text(encoding="utf-8") == as_text(english()), "run python -m exact_vae.nodes.translations"


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_is_complete_and_nothing_is_surplus(language):
    want, found = flat(english()), flat(texts(language))
    assert not set(want) - set(found), "missing"
    assert not set(found) - set(want), "surplus"
    assert all(text.strip() == text and text for text in found.values())


@pytest.mark.parametrize("node", NODE_CLASS_MAPPINGS)
def test_the_form_is_the_host_s(node):
    cls = NODE_CLASS_MAPPINGS[node]
    types = cls.INPUT_TYPES()
    for found in (texts(language)[node] for language in TRANSLATED):
        assert set(found) == {"display_name", "description", "inputs", "outputs"}
        assert list(found["inputs"]) == [*types["required"], *types.get("optional", {})]  # hidden ones have no text
        assert list(found["outputs"]) == [str(i) for i in range(len(cls.RETURN_TYPES))]
        assert all(set(slot) == {"name", "tooltip"} for kind in ("inputs", "outputs") for slot in found[kind].values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_is_read_as_a_formula(language):
    """The host's frontend reads { }, @ and | in a text as places for values, links and plurals."""
    wrong = {path: text for path, text in flat(texts(language)).items() if re.search(r"[{}@|]", text)}
    assert not wrong


@pytest.mark.parametrize("language", TRANSLATED)
def test_every_sentence_is_translated(language):
    """It is in the language's script, it ends as its sentences do, and no English word is left but menus' choices."""
    for path, source, text in beside_english(language):
        assert text != source, path
        assert re.search(SCRIPTS.get(language, "[a-z]"), text), path
        assert text[-1] in ENDS.get(language, "."), path
        for word in menus(path.split(".")[0]):
            text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", "", text)
        assert not re.search(ENGLISH_WORDS, text), path


@pytest.mark.parametrize("language", TRANSLATED)
def test_numbers_and_words_of_code_stay(language):
    """The name of an input does not: its row on the node has the name in the language, and so has what speaks of it."""
    for path, source, text in beside_english(language):
        inputs = english()[path.split(".")[0]]["inputs"]
        kept = {word for word in re.findall(CODE, source) if word not in inputs}
        assert not {word for word in kept if word not in text}, path
        for name in set(re.findall(r"\w+", source)) & {name for name in inputs if re.search(r"_|\d", name)}:
            label = texts(language)[path.split(".")[0]]["inputs"][name]["name"]
            assert label in text and name not in text, (path, label)


@pytest.mark.parametrize("language", TRANSLATED)
def test_a_text_calls_nodes_what_the_menu_calls_them(language):
    names = {node["display_name"]: texts(language)[key]["display_name"] for key, node in english().items()}
    for path, source, text in beside_english(language):
        missing = [there for here, there in names.items() if here in source and there not in text]
        assert not missing, (path, missing)


@pytest.mark.parametrize("language", TRANSLATED)
def test_what_english_says_once_is_translated_once(language):
    """Tooltips that inputs of several nodes share stay shared."""
    found: dict[str, set[str]] = {}
    for _, source, text in beside_english(language):
        found.setdefault(source, set()).add(text)
    assert not {source: several for source, several in found.items() if len(several) > 1}


@pytest.mark.parametrize("language", TRANSLATED)
def test_the_rows_of_a_node_have_names_and_no_identifiers(language):
    for node, found in texts(language).items():
        for kind in ("inputs", "outputs"):
            names = [slot["name"] for slot in found[kind].values()]
            assert len(set(names)) == len(names) and not [name for name in names if "_" in name], (node, names)


@pytest.mark.parametrize("node", NODE_CLASS_MAPPINGS)
def test_a_translation_names_the_words_that_stand_in_the_menu(node):
    """Choices of a menu are not translated, so a tooltip that explains them must name them as they are."""
    for language, (name, source) in product(TRANSLATED, english()[node]["inputs"].items()):
        explained = {word for word in menu(node, name) if f"{word}:" in source["tooltip"]}
        missing = {word for word in explained if word not in texts(language)[node]["inputs"][name]["tooltip"]}
        assert not missing, (language, name, missing)


@pytest.mark.parametrize("language", LANGUAGES)
def test_display_names_differ(language):
    """Two nodes of one name cannot be told apart in the menu."""
    names = [node["display_name"] for node in texts(language).values()]
    assert len(set(names)) == len(names)
    assert all("Exact" in name for name in names)


WORDS = re.compile(r"[a-z][a-z +]+", re.IGNORECASE)
# Choices that are nobody's words: of what they name, people say the same in every language.
NAMES = {"fp", "bf", "cpu", "nvidia", "perlin", "slerp", "lerp", "musubi", "diffusers", "prores", "pixel_space"}


def words_in_menus() -> set[str]:
    """Choices that say something, and name no file, model, format, generator or device."""
    found = {str(word) for node in NODE_CLASS_MAPPINGS for word in menus(node)}
    return {word for word in found if WORDS.fullmatch(word) and word not in NAMES | set(latents.SPACES)}


def test_menus_are_said_in_every_language():
    """web/choices.js writes them behind the word, which stays; none is idle."""
    assert set(table("en")["choices"]) == words_in_menus()
    for language in TRANSLATED:
        own = table(language)
        assert list(own["choices"]) == list(table("en")["choices"])
        assert own["choice"].startswith("{word}") and "{said}" in own["choice"]
        for word, said in own["choices"].items():
            assert said == said.strip() and re.search(SCRIPTS.get(language, "[a-z]"), said), (language, word)
