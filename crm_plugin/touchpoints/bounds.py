"""What a text may do, so that none takes long or grows large: checked when it is compiled, and in the few operations that can grow.

No text has a way around these bounds: what is not named here is refused, what it loops over is cut, and its output is counted while
it is made. What is left runs as fast as bare Jinja.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, ClassVar

from jinja2 import TemplateSyntaxError, filters, nodes, pass_eval_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context, Undefined
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from crm_plugin.phrases import phrase

LONGEST_OUTPUT = 200_000
# No value a text computes is longer, in characters or entries; no quoted text in it is longer than half of that.
LONGEST_VALUE = 2_000
LARGEST_NUMBER = 10**15
# Rounds of a loop, and of a loop within it; what comes after them is left out.
ROUNDS = (500, 50)
# Steps of a text: what stands in a loop counts once for each round, and what goes through a whole value as ten.
MOST_STEPS = 100_000
_WHOLE = (nodes.Filter, nodes.Call, nodes.Concat, nodes.Test)

_PIECES = 1_000


def _words(told: str) -> frozenset[str]:
    return frozenset(told.split())


_FILTERS = _words(
    "abs capitalize count d date default e escape first float int join last length list lower money replace reverse round safe string "
    "striptags trim truncate upper urlencode"
)
_METHODS = _words(
    "capitalize cycle endswith isoformat isoweekday lower lstrip rstrip split splitlines startswith strip title upper weekday"
)
_KINDS = _words(
    "And Add Assign Call Compare Concat CondExpr Const Dict Div Filter FloorDiv For Getattr Getitem If Keyword List Mod Mul Name Neg Not "
    "Operand Or Output Pair Pos Slice Sub Template TemplateData Test Tuple With"
)
_CALLED = {
    "Include": phrase("a text cannot take in other files"),
    "Import": phrase("a text cannot take in other files"),
    "FromImport": phrase("a text cannot take in other files"),
    "Extends": phrase("a text cannot take in other files"),
    "Macro": phrase("a text cannot define macros"),
    "Block": phrase("a text cannot define blocks"),
    "AssignBlock": phrase("{% set %} needs a value: {% set name = … %}"),
    "Pow": phrase("a text cannot raise to a power"),
}
_JOINED, _ROUNDS = "(joined)", "(rounds)"


class NotAllowed(TemplateSyntaxError):
    """A text asks for what texts may not do."""


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, with bounds on time and size by construction."""

    intercepted_binops: ClassVar[frozenset[str]] = frozenset({"%", "*", "**", "+"})  # type: ignore[misc]

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.globals.clear()
        self.filters["replace"] = _replace
        self.filters["reverse"] = _reverse
        self.filters["round"] = _round
        self.filters["urlencode"] = _urlencode
        self.filters["join"] = self.filters[_JOINED] = _join
        self.filters[_ROUNDS] = _rounds

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        bounds = _Bounds()
        bounds.visit(tree)
        return tree

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """The operations that can grow."""
        if operator == "**":
            raise SecurityError(phrase("a text cannot raise to a power"))
        sized = [value for value in (left, right) if isinstance(value, (str, list, tuple))]
        if operator == "%":
            if sized:
                raise SecurityError(phrase("% is only for numbers"))
        elif operator == "+":
            if sized and sum(map(len, sized)) > LONGEST_VALUE:
                raise _too_long()
        elif len(sized) == 1:
            times = right if sized[0] is left else left
            if isinstance(times, int) and len(sized[0]) * times > LONGEST_VALUE:
                raise _too_long()
        made = super().call_binop(context, operator, left, right)
        if isinstance(made, int) and abs(made) > LARGEST_NUMBER:
            raise SecurityError(phrase("a number is too large"))
        return made

    @staticmethod
    def concat(pieces: Iterable[str]) -> str:
        """The whole text. Raises: SecurityError."""
        return "".join(counted(pieces))


def counted(pieces: Iterable[str]) -> list[str]:
    """The pieces of a text, counted while it is made. Raises: SecurityError."""
    rest = iter(pieces)
    found = list(islice(rest, _PIECES))
    size, more = sum(map(len, found)), found
    while len(more) == _PIECES and size <= LONGEST_OUTPUT:
        more = list(islice(rest, _PIECES))
        found += more
        size += sum(map(len, more))
    if size > LONGEST_OUTPUT:
        raise SecurityError(phrase("it comes out longer than %(most)s characters", most=LONGEST_OUTPUT))
    return found


class _Bounds(NodeTransformer):
    """Refuses what is not known to be cheap, and puts the bounds around loops and `~`."""

    def __init__(self) -> None:
        self._depth = 0
        self._steps = 0

    def visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> Any:
        kind = type(node).__name__
        if kind not in _KINDS:
            raise NotAllowed(_CALLED.get(kind, phrase("a text cannot use %(kind)s", kind=kind)), node.lineno)
        self._steps += math.prod(ROUNDS[: self._depth]) * (10 if isinstance(node, _WHOLE) else 1)
        if self._steps > MOST_STEPS:
            raise NotAllowed(phrase("the text does too much, for there is too much in a loop"), node.lineno)
        return super().visit(node, *args, **kwargs)

    def visit_For(self, node: nodes.For) -> nodes.Node:
        if node.recursive:
            raise NotAllowed(phrase("a loop cannot call itself"), node.lineno)
        if self._depth == len(ROUNDS):
            raise NotAllowed(phrase("loops cannot be nested deeper than two"), node.lineno)
        most = nodes.Const(ROUNDS[self._depth], lineno=node.lineno)
        node.iter = nodes.Filter(self.visit(node.iter), _ROUNDS, [most], [], None, None, lineno=node.lineno)
        self._depth += 1
        self.visit(node.target)
        node.body = self._all(node.body)
        node.test = self.visit(node.test) if node.test is not None else None
        self._depth -= 1
        node.else_ = self._all(node.else_)
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        parts = nodes.List(self._all(node.nodes), lineno=node.lineno)
        return nodes.Filter(parts, _JOINED, [], [], None, None, lineno=node.lineno)

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:
        if node.node is None:
            raise NotAllowed(phrase("a text cannot use {% filter %}"), node.lineno)
        if node.name not in _FILTERS:
            raise NotAllowed(_no_filter(node.name), node.lineno)
        return self.generic_visit(node)

    def visit_Call(self, node: nodes.Call) -> nodes.Node:
        asked = node.node
        name = asked.name if isinstance(asked, nodes.Name) else asked.attr if isinstance(asked, nodes.Getattr) else ""
        if not isinstance(asked, nodes.Getattr) or name not in _METHODS or node.dyn_args or node.dyn_kwargs:
            raise NotAllowed(phrase("a text cannot call %(name)s", name=name or phrase("that")), node.lineno)
        return self.generic_visit(node)

    def visit_List(self, node: nodes.List) -> nodes.Node:
        return self._only_constants(node, node.items)

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        return self.generic_visit(node) if node.ctx == "store" else self._only_constants(node, node.items)

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        return self._only_constants(node, [part for pair in node.items for part in (pair.key, pair.value)])

    def visit_Const(self, node: nodes.Const) -> nodes.Node:
        value = node.value
        if isinstance(value, str) and len(value) > LONGEST_VALUE // 2:
            raise NotAllowed(
                phrase("a quoted text is longer than %(most)s characters", most=LONGEST_VALUE // 2),
                node.lineno,
            )
        if isinstance(value, int) and abs(value) > LARGEST_NUMBER:
            raise NotAllowed(phrase("a number is too large"), node.lineno)
        return node

    def _only_constants(self, node: nodes.Expr, items: Sequence[nodes.Node]) -> nodes.Node:
        # A list that holds lists that hold lists doubles with every line.
        if not all(isinstance(item, nodes.Const) for item in items):
            raise NotAllowed(phrase("a list can only hold quoted texts and numbers"), node.lineno)
        return self.generic_visit(node)

    def _all(self, found: Sequence[Any]) -> list[Any]:
        return [self.visit(node) for node in found]


def _no_filter(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), _FILTERS, 1, 0.7)
    if close:
        return phrase("there is no filter `%(name)s`; did you mean `%(close)s`?", name=name, close=close[0])
    return phrase("there is no filter `%(name)s`; there are %(names)s.", name=name, names=sorted(_FILTERS))


def _too_long() -> SecurityError:
    return SecurityError(phrase("a value is longer than %(most)s characters", most=LONGEST_VALUE))


def _rounds(value: Any, most: int) -> Any:
    """What a loop goes through: a list, and no more of it than there are rounds."""
    if isinstance(value, Undefined):
        # Says its own name.
        return iter(value)
    if not isinstance(value, (list, tuple)):
        raise SecurityError(phrase("a loop needs a list, such as order.lines"))
    return value if len(value) <= most else value[:most]


@pass_eval_context
def _join(context: nodes.EvalContext, value: Any, d: str = "") -> str:
    if not isinstance(value, (list, tuple, str)):
        raise SecurityError(phrase("join needs a list"))
    size = len(d) * len(value)
    for part in value:
        size += len(str(part))
        if size > LONGEST_VALUE:
            raise _too_long()
    # Not made plain text: what was marked safe stays so.
    joined: str = filters.do_join(context, value, d)
    return joined


@pass_eval_context
def _replace(context: nodes.EvalContext, value: Any, old: str, new: str, count: int | None = None) -> str:
    text = value if isinstance(value, str) else str(value)
    if len(text) + text.count(old) * len(new) > LONGEST_VALUE:
        raise _too_long()
    return filters.do_replace(context, text, old, new, count)


def _reverse(value: Any) -> Any:
    if not isinstance(value, (str, list, tuple)):
        raise SecurityError(phrase("reverse needs a list"))
    return value[::-1]


def _round(value: float, precision: int = 0, method: str = "common") -> float:
    if not -15 <= precision <= 15:
        raise SecurityError(phrase("round takes from -15 to 15 digits"))
    return filters.do_round(value, precision, method)  # type: ignore[arg-type]


def _urlencode(value: Any) -> str:
    if not isinstance(value, (str, int, float)):
        raise SecurityError(phrase("urlencode needs a text"))
    if len(made := filters.do_urlencode(str(value))) > LONGEST_VALUE:
        raise _too_long()
    return made
