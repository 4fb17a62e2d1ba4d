"""Numbers from expressions such as `floor(a / 32) * 32`: Python's arithmetic, comparisons and some functions.

The functions are those that ComfyUI's node for expressions has. An expression is a stranger's text, so nothing else of
Python is there, and no number may become larger than some.
"""

import ast
import math
import operator
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from ...vae_core.errors import BadRequest
from ..limits import DEEPEST_EXPRESSION, LONGEST_EXPRESSION, MOST_BITS, MOST_REPEATED

Number = int | float | bool


def evaluate(expression: str, names: Mapping[str, Any]) -> Number:
    """names: what letters stand for. Raises BadRequest for what is no expression, or gives no finite number."""
    if not expression.strip():
        raise BadRequest("the expression is empty")
    if len(expression) > LONGEST_EXPRESSION:
        raise BadRequest(f"the expression is longer than {LONGEST_EXPRESSION} letters")
    try:
        value = _Evaluation({**names, "values": tuple(names.values())}).of(
            ast.parse(expression.strip(), mode="eval").body
        )
        finite = isinstance(value, int | float) and math.isfinite(value)
    except SyntaxError as error:
        raise BadRequest(f"'{expression}' is no expression: {error.msg}") from error
    except (RecursionError, MemoryError) as error:
        raise BadRequest(f"the expression has too many operations within one another ({error})") from error
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise BadRequest(f"'{expression}' cannot be computed: {error}") from error
    if not finite:
        raise BadRequest(f"'{expression}' gives no finite number: {value!r:.80}")
    return value


class _Evaluation:
    def __init__(self, names: Mapping[str, Any]):
        self.names, self.depth = names, 0

    def of(self, node: ast.AST) -> Any:
        kind = _KINDS.get(type(node))
        if kind is None:
            raise BadRequest(
                f"an expression has no {type(node).__name__}: it has numbers, texts, names, operators and functions"
            )
        self.depth += 1
        if self.depth > DEEPEST_EXPRESSION:
            raise BadRequest(f"the expression has more than {DEEPEST_EXPRESSION} operations within one another")
        value = kind(self, node)
        self.depth -= 1
        return value


def _constant(do: _Evaluation, node: ast.Constant) -> Any:
    if isinstance(node.value, bytes | complex) or node.value is ...:
        raise BadRequest(f"an expression has numbers and texts, and no {node.value!r}")
    return node.value


def _name(do: _Evaluation, node: ast.Name) -> Any:
    if node.id not in do.names:
        known = ", ".join(name for name in do.names if name != "values") or "none"
        raise BadRequest(f"'{node.id}' has no value; these have one: {known}")
    return do.names[node.id]


def _binary(do: _Evaluation, node: ast.BinOp) -> Any:
    return _operator(node.op)(do.of(node.left), do.of(node.right))


def _unary(do: _Evaluation, node: ast.UnaryOp) -> Any:
    return _operator(node.op)(do.of(node.operand))


def _boolean(do: _Evaluation, node: ast.BoolOp) -> Any:
    stops = isinstance(node.op, ast.Or)
    value: Any = None
    for one in node.values:
        value = do.of(one)
        if bool(value) == stops:
            return value
    return value


def _compare(do: _Evaluation, node: ast.Compare) -> bool:
    left = do.of(node.left)
    for op, right in zip(node.ops, map(do.of, node.comparators), strict=True):
        if not _operator(op)(left, right):
            return False
        left = right
    return True


def _choose(do: _Evaluation, node: ast.IfExp) -> Any:
    return do.of(node.body if do.of(node.test) else node.orelse)


def _call(do: _Evaluation, node: ast.Call) -> Any:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if name not in FUNCTIONS:
        raise BadRequest(
            f"the functions of expressions are {', '.join(FUNCTIONS)}; '{ast.unparse(node.func):.80}' is none"
        )
    if any(one.arg is None for one in node.keywords):
        raise BadRequest("an expression has no **")
    return FUNCTIONS[name](*map(do.of, node.args), **{str(one.arg): do.of(one.value) for one in node.keywords})


def _item(do: _Evaluation, node: ast.Subscript) -> Any:
    return do.of(node.value)[do.of(node.slice)]


def _part(do: _Evaluation, node: ast.Slice) -> slice:
    return slice(*(one and do.of(one) for one in (node.lower, node.upper, node.step)))


def _operator(op: ast.AST) -> Callable[..., Any]:
    found = OPERATORS.get(type(op))
    if found is None:
        raise BadRequest(f"an expression has no operator {type(op).__name__}")
    return found


def _power(base: Number, exp: Number) -> Number:
    if isinstance(base, int) and isinstance(exp, int):
        _demand_bits(base.bit_length() * max(exp, 0))
    return base**exp


def _round(number: Number, ndigits: int | None = None) -> Number:
    """Python asks for 10 to the power of any digits."""
    if isinstance(ndigits, int):
        _demand_bits(abs(ndigits))
    return round(number, ndigits)


def _remainder(first: Number, second: Number) -> Number:
    if isinstance(first, str):  # for which % fills in, as wide as it says
        raise TypeError("a text has no remainder")
    return first % second


def _shift(number: int, by: int) -> int:
    _demand_bits(number.bit_length() + by)
    return number << by


def _multiply(first: Number, second: Number) -> Number:
    if isinstance(first, int) and isinstance(second, int):
        _demand_bits(first.bit_length() + second.bit_length())
    for several, times in ((first, second), (second, first)):
        if isinstance(several, str | tuple) and isinstance(times, int) and len(several) * times > MOST_REPEATED:
            raise BadRequest(f"a product of the expression would have more than {MOST_REPEATED} letters or values")
    return first * second


def _demand_bits(number: int) -> None:
    if number > MOST_BITS:
        raise BadRequest(f"a number of the expression would have more than {MOST_BITS} bits")


def _sum(*values: Any) -> Number:
    several: Iterable[Number] = values[0] if len(values) == 1 and isinstance(values[0], tuple) else values
    return sum(several)


FUNCTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {"sum": _sum, "min": min, "max": max, "abs": abs, "round": _round, "pow": _power, "sqrt": math.sqrt,
     "ceil": math.ceil, "floor": math.floor, "log": math.log, "log2": math.log2, "log10": math.log10, "sin": math.sin,
     "cos": math.cos, "tan": math.tan, "int": int, "float": float}
)  # fmt: skip
OPERATORS: Mapping[type, Callable[..., Any]] = MappingProxyType(
    {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: _multiply, ast.Div: operator.truediv,
     ast.FloorDiv: operator.floordiv, ast.Mod: _remainder, ast.Pow: _power, ast.LShift: _shift,
     ast.RShift: operator.rshift, ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor,
     ast.UAdd: operator.pos, ast.USub: operator.neg, ast.Invert: operator.invert, ast.Not: operator.not_,
     ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt,
     ast.GtE: operator.ge, ast.Is: operator.is_, ast.IsNot: operator.is_not, ast.In: lambda one, many: one in many,
     ast.NotIn: lambda one, many: one not in many}
)  # fmt: skip
_KINDS: Mapping[type, Callable[[_Evaluation, Any], Any]] = MappingProxyType(
    {ast.Constant: _constant, ast.Name: _name, ast.BinOp: _binary, ast.UnaryOp: _unary, ast.BoolOp: _boolean,
     ast.Compare: _compare, ast.IfExp: _choose, ast.Call: _call,
     ast.Subscript: _item, ast.Slice: _part}
)  # fmt: skip
