"""Core nodes for numbers and texts. The answers are those that the real core gave."""

import pytest
import torch
from exact_vae.headless import Graph, core_nodes, run
from exact_vae.headless.core.expressions import evaluate
from exact_vae.headless.limits import DEEPEST_EXPRESSION as DEEPEST
from exact_vae.headless.limits import LONGEST_EXPRESSION as LONGEST
from exact_vae.vae_core.errors import BadRequest

REGEX = {"case_insensitive": True, "multiline": False, "dotall": False}


def made(kind: str, **inputs):
    return core_nodes("in", "out", "temp", {})[kind]().run(**inputs)


@pytest.mark.parametrize(
    "expression, value",
    [("a / 2", 1.5), ("a // b", 1), ("-a ** 2", -9), ("a & ~1", 2), ("a > b", True), ("1 < a < b", False),
     ("not a", False), ("a if a > b else 1 / 0", 3), ("a and 0 or b", 2), ("round(a / b, 1)", 1.5),
     ("max(((a + 15) // 16) * 16, 256)", 256), ("sum(values)", 5), ("sum(a, b)", 5), ("floor (a / b)", 1),
     ("pow(a, b) + sqrt(4)", 11), ("int(log2(8))", 3), ("1e3 * a", 3000), ("a << b", 12), ("True", True),
     ("values[0] + values[-1]", 5), ("sum(values[1:])", 2), ("a in values", True), ("b if 9 not in values else 0", 2),
     ("round(a / 7, ndigits=1)", 0.4), ("int('5') + a", 8), ("pow(base=a, exp=b)", 9), ("max(values, default=0)", 3),
     ("a is None", False), ("values[0] is not values[1]", True), ("'a' < 'b'", True), ("round(17, -1)", 20)],
)  # fmt: skip
def test_expressions(expression, value):
    assert evaluate(expression, {"a": 3, "b": 2}) == value


@pytest.mark.parametrize(
    "expression, words",
    [(" ", "is empty"), ("a +", "is no expression: invalid syntax"), ("c", "'c' has no value; these have one: a"),
     ("__import__('os')", "the functions of expressions are sum, min,"), ("a.real", "has no Attribute"),
     ("[a]", "has no List"), ("'x'", "gives no finite number: 'x'"), ("b'x'", "has numbers and texts, and no b'x'"),
     ("a / 0", "cannot be computed: division by zero"),
     ("9 ** 9 ** 9", "more than 100000 bits"), ("1 << 10 ** 9", "more than 100000 bits"),
     ("9 ** 9999", "cannot be computed: "), ("1e400", "gives no finite number: inf"),
     ("values", "gives no finite number"), ("sqrt(-a)", "cannot be computed"), ("(-1) ** 0.5", "no finite number"),
     ("-" * (DEEPEST + 1) + "1", f"more than {DEEPEST} operations"), ("1" + " " * LONGEST + "+1", "longer than"),
     ("round(x=1)", "cannot be computed"), ("max(**values)", "has no **"), ("values[5]", "cannot be computed"),
     ("values * 10**6", "more than 10000 letters or values"), ("10**5 * 'x'", "more than 10000 letters or values"),
     ("'%1000000000d' % a", "cannot be computed: a text has no remainder"), ("round(5, -10**9)", "more than 100000"),
     ("values.count(3)", "the functions of"), ("'x'.real", "has no Attribute"),
     ("a @ a", "no operator MatMult"), ("max(a)", "cannot be computed")],
    ids=range(29),
)  # fmt: skip
def test_what_is_no_expression_is_said(expression, words):
    with pytest.raises(BadRequest) as told:
        evaluate(expression, {"a": 3})
    assert words in str(told.value)


def test_numbers():
    assert made("ComfyMathExpression", expression="a / b", values={"a": -3, "b": 2}) == (-1.5, -1, True)
    assert made("ComfyNumberConvert", value=" 4.2 ") == (4.2, 4)
    assert made("ComfyNumberConvert", value="99999999999999999999") == (1e20, 99999999999999999999)
    for value, words in (("x", "'x' is no number"), ("nan", "'nan' is no finite number")):
        with pytest.raises(BadRequest, match=words):
            made("ComfyNumberConvert", value=value)
    assert made("ColorToRGBInt", color="#12345678") == (0x123456, "#123456", 0x78 / 255)
    with pytest.raises(BadRequest, match="'red' is no colour"):
        made("ColorToRGBInt", color="red")
    chosen = {"aspect_ratio": "9:16 (Portrait Widescreen)", "megapixels": 0.3, "multiple": 64}
    assert made("ResolutionSelector", **chosen) == (448, 768)


def test_values_are_shown_as_the_host_shows_them():
    def show(value):
        return made("PreviewAny", source=value)["ui"]["text"][0]

    assert [show(one) for one in (None, True, 1.5, "é", {"é": [1]})] == [
        "None", "True", "1.5", "é", '{\n    "é": [\n        1\n    ]\n}']  # fmt: skip
    assert (
        show(torch.arange(2000))
        == "tensor([   0,    1,    2,    3,    4,    5,  ..., 1994, 1995, 1996, 1997, 1998,\n        1999])"
    )
    assert str(torch.arange(2000)).count(",") == 6  # as torch shows it everywhere else


def test_texts():
    assert made("StringReplace", string="ab", find="", replace="-") == ("-a-b-",)
    assert made("StringTrim", string="\n a ", mode="Left") == ("a ",)
    assert made("StringSubstring", string="abcdef", start=-3, end=-1) == ("de",)
    assert made("CaseConverter", string="hELLO wor'ld", mode="Title Case") == ("Hello Wor'Ld",)
    assert made("StringContains", string="aBc", substring="b", case_sensitive=True) == (False,)
    assert made("StringCompare", string_a="AbC", string_b="c", mode="Ends With", case_sensitive=False) == (True,)
    assert made("RegexMatch", string="aB", regex_pattern="(", **REGEX) == (False,)
    assert made("RegexReplace", string="aBab", regex_pattern="a(b)", replace=r"<\1>", count=1) == ("<B>ab",)
    with pytest.raises(BadRequest, match="'\\(' is no regular expression: missing"):
        made("RegexReplace", string="a", regex_pattern="(", replace="")
    assert made("JsonExtractString", json_string='{"a": {"b": 2}}', key="a") == ("{'b': 2}",)
    assert made("JsonExtractString", json_string="[1", key="a") == ("",)


@pytest.mark.parametrize(
    "pattern, mode, found",
    [("(b)(c)", "First Match", "Bc"), ("(b)(c)", "All Matches", "B\nb"), ("[a-c]", "All Matches", "a\nB\nc\nb\nc"),
     ("(b)(c)", "First Group", "c"), ("(b)(c)", "All Groups", "c\nc"), ("q", "First Match", ""),
     ("(b)", "All Groups", ""), ("(", "All Matches", ""), ("b.", "All Groups", "")],
)  # fmt: skip
def test_what_a_regular_expression_finds(pattern, mode, found):
    given = {"string": "aBcbc", "regex_pattern": pattern, "mode": mode, "group_index": 2, **REGEX}
    assert made("RegexExtract", **given) == (found,)


def test_letters_of_an_expression_in_a_graph(tmp_path):
    graph = Graph()
    values = {"values.a": graph.add("PrimitiveInt", value=50), "values.b": graph.add("PrimitiveFloat", value=2.5)}
    shown = graph.add("PreviewAny", source=graph.add("ComfyMathExpression", expression="a // b", **values)[1])
    assert run(graph, core_nodes(tmp_path, tmp_path, tmp_path, {})).outputs[shown.id] == {"text": ["20"]}
