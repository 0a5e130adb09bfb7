"""Filters: `task.people <= 64 and model.width in [8, 16]`, over values by spec path. Parsed, never
evaluated as code.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from typing import Any

from scalelab.core.errors import UserError, nearest
from scalelab.core.units import parse_number

_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda value, many: value in many,
    ast.NotIn: lambda value, many: value not in many,
}
_CURE = "write it like `task.people <= 64 and task.recall == in_tool`"


def compile_filter(text: str) -> Callable[[Mapping[str, Any]], bool]:
    """A predicate over rows (spec path, `params.*`, `metrics.*`, `state`, ... -> value).

    A bare word that is no column is a string, so that `task.recall == in_tool` needs no quotes. A
    comparison with a value that is not there is false. Raises UserError where the text is no
    filter; the predicate raises it for an unknown name on the left of a comparison.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as error:
        raise UserError(f"`{text}` is no filter", cure=_CURE) from error
    _check(tree, text)
    return lambda row: bool(_value(tree, row))


def _check(node: ast.expr, text: str) -> None:
    match node:
        case ast.BoolOp(values=parts):
            for part in parts:
                _check(part, text)
        case ast.UnaryOp(op=ast.Not(), operand=part):
            _check(part, text)
        case ast.Compare(left=left, ops=[op], comparators=[right]) if type(op) in _COMPARE:
            if _path(left) is None:
                raise UserError(
                    f"`{text}` is no filter: a comparison begins with a spec path", cure=_CURE
                )
            _literal(right, text)
        case _:
            raise UserError(f"`{text}` is no filter", cure=_CURE)


def _path(node: ast.expr) -> str | None:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=inner, attr=name):
            above = _path(inner)
            return None if above is None else f"{above}.{name}"
    return None


def _literal(node: ast.expr, text: str) -> Any:
    """A number, a quoted or bare word, true, false, null, or a list of them."""
    match node:
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [_literal(part, text) for part in parts]
        case ast.Constant(value=value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return -value
    word = _path(node)
    if word is None:
        raise UserError(f"`{text}` is no filter: `{ast.unparse(node)}` is no value", cure=_CURE)
    return {"true": True, "false": False, "null": None}.get(word, word)


def _value(node: ast.expr, row: Mapping[str, Any]) -> bool:
    match node:
        case ast.BoolOp(op=ast.And(), values=parts):
            return all(_value(part, row) for part in parts)
        case ast.BoolOp(values=parts):
            return any(_value(part, row) for part in parts)
        case ast.UnaryOp(operand=part):
            return not _value(part, row)
        case ast.Compare(left=left, ops=[op], comparators=[right]):
            return _compare(_path(left) or "", type(op), _literal(right, ""), row)
    raise AssertionError("checked before")


def _compare(path: str, op: type[ast.cmpop], wanted: Any, row: Mapping[str, Any]) -> bool:
    if path not in row:
        raise UserError(f"unknown name `{path}` in the filter", cure=nearest(path, list(row)))
    value = row[path]
    if value is None and wanted is not None and op not in (ast.NotEq, ast.NotIn):
        return False
    try:
        if isinstance(value, int | float) and isinstance(wanted, str):
            wanted = parse_number(wanted)
        return _COMPARE[op](value, wanted)
    except (TypeError, ValueError) as error:
        what = f"`{path}` is {value!r} in the filter, which does not compare with {wanted!r}"
        raise UserError(
            what, cure="compare numbers with numbers, words with words, and write lists as [8, 16]"
        ) from error
