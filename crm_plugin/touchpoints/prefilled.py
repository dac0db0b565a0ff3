"""A text with what all its readers have alike written in before it is compiled, so that little is left to fill in for each of them.

What comes out is what `render` makes of the text. Where something goes wrong here, it is `render` that says what and where.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

from jinja2 import Template, nodes
from jinja2.nodes import EvalContext
from jinja2.optimizer import Optimizer
from jinja2.runtime import Context

from crm_plugin.errors import InvalidInput
from crm_plugin.touchpoints.bounds import counted
from crm_plugin.touchpoints.policy import Brand
from crm_plugin.touchpoints.render import MISTAKES, Rendered, Text, finished, frame, heading
from crm_plugin.touchpoints.sandbox import PLAIN, Sandbox, environment, inlined, not_too_long
from crm_plugin.touchpoints.scene import VARIABLES, JourneyView, ShopView
from crm_plugin.woven import Cut, cuts, weave

_FRAMED = "body_html"
# What can be written down as it is.
_WRITTEN = (str, int, type(None))


@dataclass(frozen=True, slots=True)
class Common:
    """What all messages of one journey in one language are rendered from, whoever reads them."""

    shop: ShopView
    journey: JourneyView
    locale: str
    days: int
    marketing: bool
    cta_url: str

    def names(self) -> dict[str, Any]:
        """The variables by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(frozen=True, slots=True)
class Prefilled:
    """A text, what its readers have alike, and its parts compiled with that; `asked` are the names that are left to be told.

    Without `parts` it is for `render` alone: it cannot be read, and may ask for anything, or it is for too few.
    """

    text: Text
    common: Common
    asked: frozenset[str] = frozenset(VARIABLES)
    _common: Mapping[str, Any] = field(default_factory=dict)
    _frame: Mapping[str, Any] = field(default_factory=dict)
    parts: Mapping[str, Template] = field(default_factory=dict)
    # How what all mails have alike is cut out of the HTML.
    _cuts: Mapping[str, Cut] = field(default_factory=dict)

    def fill(self, told: Mapping[str, Any]) -> Rendered | None:
        """The message for one reader, of a text with parts; None where `render` has to say what is wrong."""
        try:
            return self._filled({**self._common, **told})
        except MISTAKES:
            return None

    def _filled(self, names: dict[str, Any]) -> Rendered:
        context = _context(names, False)
        done: dict[str, str] = {}
        for part, template in self.parts.items():
            if part == _FRAMED:
                context = _context({**names, **self._frame, **heading(done)}, True)
            elif context.vars:
                # What a part sets is its own.
                context = _context(names, False)
            pieces = counted(template.root_render_func(context))
            done[part] = weave(pieces, self._cuts) if part == _FRAMED else "".join(pieces)
        return finished(self.text, self.common.locale, done, done.get(_FRAMED, ""))


def _context(names: dict[str, Any], autoescape: bool) -> Context:
    return Context(environment(autoescape), names, None, {})


@lru_cache(maxsize=256)
def prefilled(text: Text, common: Common, brand: Brand) -> Prefilled:
    """The text with what is common to its readers; made once for all messages that are alike in this."""
    known, around = common.names(), frame(common.locale, brand)
    parts: dict[str, Template] = {}
    asked: set[str] = set()
    try:
        for part, source in text.parts().items():
            if part != _FRAMED:
                parts[part] = _compiled(environment(False), not_too_long(source), known, asked)
        if text.is_framed:
            parts[_FRAMED] = _compiled(environment(True), inlined(text.body_html, brand), {**known, **around}, asked)
    except (*MISTAKES, InvalidInput):
        return Prefilled(text, common)
    return Prefilled(text, common, frozenset(asked), known, around, parts, _cuts_of(parts.get(_FRAMED)))


def _cuts_of(template: Template | None) -> dict[str, Cut]:
    """The constants of what Jinja has compiled: what it puts out as it stands is one of them."""
    return cuts(template.root_render_func.__code__.co_consts) if template is not None else {}


def _compiled(sandbox: Sandbox, source: str, known: Mapping[str, Any], asked: set[str]) -> Template:
    """The source with what is known; adds the names that are left to those `asked`."""
    tree = sandbox.parse(source)
    names = list(tree.find_all(nodes.Name))
    # A name that the text itself gives to something stands for that.
    own = {name.name for name in names if name.ctx != "load"}
    told = {name: value for name, value in known.items() if name not in own}
    tree = _Writer(sandbox, told).visit(tree, EvalContext(sandbox))
    asked |= {name.name for name in tree.find_all(nodes.Name)}
    return sandbox.from_string(tree)


class _Writer(Optimizer):
    """Writes values in place of their names, works out what then holds nothing unknown, and leaves out what nobody will read."""

    def __init__(self, sandbox: Sandbox, known: Mapping[str, Any]) -> None:
        super().__init__(sandbox)
        self._known = known

    def visit_Name(self, node: nodes.Name, *_context: EvalContext) -> nodes.Expr:
        return _written(node, self._known.get(node.name, node))

    def visit_Getattr(self, node: nodes.Getattr, *context: EvalContext) -> nodes.Node:
        of = self._known.get(node.node.name) if isinstance(node.node, nodes.Name) else None
        if of.__class__ in PLAIN and not node.attr.startswith("_"):
            return _written(node, getattr(of, node.attr, node))
        return self.generic_visit(node, *context)

    def visit_Call(self, node: nodes.Call, *context: EvalContext) -> nodes.Node:
        self.generic_visit(node, *context)
        match node:
            # The address in the frame is read by its lines; Jinja works out no calls.
            case nodes.Call(
                node=nodes.Getattr(node=nodes.Const(value=str() as told), attr="splitlines"), args=[], kwargs=[]
            ):
                return nodes.Const(told.splitlines(), lineno=node.lineno)
        return node

    def visit_If(self, node: nodes.If, *context: EvalContext) -> nodes.Node | list[nodes.Node]:
        """Of branches whose tests are known the one alone that is read."""
        left: list[nodes.If] = []
        otherwise = node.else_
        for one in (node, *node.elif_):
            test = self.visit(one.test, *context)
            if not isinstance(test, nodes.Const):
                left.append(nodes.If(test, self._all(one.body, *context), [], [], lineno=one.lineno))
            elif test.value:
                otherwise = one.body
                break
        rest = self._all(otherwise, *context)
        if not left:
            return rest
        left[0].elif_, left[0].else_ = left[1:], rest
        return left[0]

    def visit_For(self, node: nodes.For, *context: EvalContext) -> nodes.Node | list[nodes.Node]:
        through = self.visit(node.iter, *context)
        if isinstance(through, nodes.Const) and not through.value:
            return self._all(node.else_, *context)
        node.iter, node.body, node.else_ = through, self._all(node.body, *context), self._all(node.else_, *context)
        node.test = node.test and self.visit(node.test, *context)
        return node

    def visit_Template(self, node: nodes.Template, *context: EvalContext) -> nodes.Node:
        node.body = self._all(node.body, *context)
        return node

    def _all(self, found: Sequence[nodes.Node], *context: EvalContext) -> list[nodes.Node]:
        """What becomes of them, what is put out one after the other in one piece."""
        made: list[nodes.Node] = []
        for node in (new for one in found for new in self.visit_list(one, *context)):
            if isinstance(node, nodes.Output) and made and isinstance(made[-1], nodes.Output):
                made[-1].nodes.extend(node.nodes)
            else:
                made.append(node)
        return made


def _written(node: nodes.Expr, value: Any) -> nodes.Expr:
    """A value that can be written down, in place of what stands for it."""
    return nodes.Const(value, lineno=node.lineno) if isinstance(value, _WRITTEN) else node
