"""The texts of the nodes in each language, in the form that the host merges into its own (/i18n)."""

import json
import re

import pytest
from exact_vae.nodes import NODE_CLASS_MAPPINGS
from exact_vae.nodes.translations import FOLDER, as_text, english, file_of

LANGUAGES = ("en", "zh")


def texts(language: str) -> dict:
    return json.loads(file_of(language).read_text(encoding="utf-8"))


def flat(tree: dict, above: str = "") -> dict[str, str]:
    """Dotted path -> text."""
    found = {}
    for key, value in tree.items():
        path = f"{above}.{key}".removeprefix(".")
        found |= {path: value} if isinstance(value, str) else flat(value, path)
    return found


def test_there_are_these_languages():
    """The host takes every folder here for a language, and knows of nodes only what nodeDefs.json says."""
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(LANGUAGES)
    for language in LANGUAGES:
        assert [path.name for path in (FOLDER / language).iterdir()] == ["nodeDefs.json"]


def test_the_english_file_is_that_of_the_classes():
    assert file_of("en").read_text(encoding="utf-8") == as_text(english()), "run python -m exact_vae.nodes.translations"


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_is_complete_and_nothing_is_surplus(language):
    want, found = flat(english()), flat(texts(language))
    assert not set(want) - set(found), "missing"
    assert not set(found) - set(want), "surplus"
    assert all(text.strip() for text in found.values())


@pytest.mark.parametrize("node", NODE_CLASS_MAPPINGS)
def test_the_form_is_the_host_s(node):
    cls, found = NODE_CLASS_MAPPINGS[node], texts("zh")[node]
    types = cls.INPUT_TYPES()
    assert set(found) == {"display_name", "description", "inputs", "outputs"}
    assert list(found["inputs"]) == [*types["required"], *types.get("optional", {})]  # hidden ones have no text
    assert list(found["outputs"]) == [str(i) for i in range(len(cls.RETURN_TYPES))]
    assert all(set(slot) == {"name", "tooltip"} for kind in ("inputs", "outputs") for slot in found[kind].values())


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_is_read_as_a_formula(language):
    """The host's frontend reads { }, @ and | in a text as places for values, links and plurals."""
    wrong = {path: text for path, text in flat(texts(language)).items() if re.search(r"[{}@|]", text)}
    assert not wrong


def test_chinese_is_chinese():
    """Every sentence is translated; names of sockets that are the same everywhere (VAE, Latent) may stay."""
    for path, text in flat(texts("zh")).items():
        if not path.endswith(".name"):  # ends in a full stop or a bracket
            assert re.search("[\u4e00-\u9fff]", text), path
            assert text[-1] in "\u3002\uff09", path


@pytest.mark.parametrize("node", NODE_CLASS_MAPPINGS)
def test_a_translation_names_the_words_that_stand_in_the_menu(node):
    """Choices of a menu are not translated, so a tooltip that explains them must name them as they are."""
    for name, slot in texts("zh")[node]["inputs"].items():
        explained = {word for word in menu(node, name) if f"{word}:" in english()[node]["inputs"][name]["tooltip"]}
        missing = {word for word in explained if word not in slot["tooltip"]}
        assert not missing, (name, missing)


def menu(node: str, name: str) -> list[str]:
    types = NODE_CLASS_MAPPINGS[node].INPUT_TYPES()
    kind = {**types["required"], **types.get("optional", {})}[name][0]
    return kind if isinstance(kind, list) else []


def test_display_names_differ():
    """Two nodes of one name cannot be told apart in the menu."""
    for language in LANGUAGES:
        names = [node["display_name"] for node in texts(language).values()]
        assert len(set(names)) == len(names)
        assert all("Exact" in name for name in names)
