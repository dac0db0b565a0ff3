"""What is wrong with a text, in a merchant's words: which name there is not and which was meant, what is not closed, and in which line."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any

from jinja2 import StrictUndefined, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError, UndefinedError
from jinja2.tests import TESTS
from jinja2.utils import missing

from crm_plugin.phrases import Phrase, phrase
from crm_plugin.touchpoints.scene import VARIABLES, VIEWS


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong, as a sentence without its beginning capital, and the line it is in (from 1; 0 where it is not known)."""

    what: str
    line: int = 0


def _public(view: type) -> tuple[str, ...]:
    return tuple(name for name in dir(view) if not name.startswith("_"))


# What each view has; a line is met in a loop, and as the product it is of.
_PARTS = {called: _public(view) for view, called in VIEWS.items()}
_LOOPED = {"lines": _PARTS.pop("line"), **dict.fromkeys(_PARTS["answers"], _PARTS.pop("answer"))}
_PARTS["product"] = _LOOPED["lines"]
# Those that a message may be without.
_OPTIONAL = ("order", "product", "event", "checkout", "gift", "coupon")
_LOOP = tuple("index index0 revindex revindex0 first last length previtem nextitem cycle changed".split())  # noqa: SIM905
_TAGS = tuple("if elif else endif for endfor set with endwith raw endraw".split())  # noqa: SIM905
_KINDS: dict[type, str] = {
    str: phrase("a text"),
    bool: phrase("a yes or no"),
    int: phrase("a number"),
    float: phrase("a number"),
    date: phrase("a day"),
    list: phrase("a list"),
    tuple: phrase("a list"),
}


def no_such(name: str, known: Collection[str], of: str = "") -> Phrase:
    """That there is no such name, and which was meant or which there are; `of` is what stands before all of them."""
    close = near(name, known)
    if close:
        return phrase("there is no `%(name)s`; did you mean `%(close)s`?", name=of + name, close=of + close)
    return phrase("there is no `%(name)s`; there are %(names)s.", name=of + name, names=[of + one for one in known])


def near(word: str, known: Collection[str]) -> str:
    """The known word that is most like this one; empty when none is."""
    lowered, word = {name.lower(): name for name in known}, word.lower()
    alike = [name for name in lowered if name.startswith(f"{word}_") or sorted(name) == sorted(word)]
    found = alike or difflib.get_close_matches(word, lowered, 1)
    return lowered[found[0]] if found else ""


# Names, while the text is read.


def unknown_name(tree: nodes.Template, undeclared: Collection[str]) -> Mistake | None:
    """The first name in a text that nothing stands behind, whoever it may be for. `undeclared` are names it uses without setting them."""
    found = [*_unknown_variables(tree, undeclared), *_unknown_parts(tree)]
    return min(found, key=lambda mistake: mistake.line, default=None)


def _unknown_variables(tree: nodes.Template, undeclared: Collection[str]) -> Iterator[Mistake]:
    wholes = {part: f"{view}.{part}" for view, parts in _PARTS.items() for part in parts}
    for node in tree.find_all(nodes.Name):
        name = node.name
        if name in undeclared and name not in VARIABLES:
            close = "" if near(name, VARIABLES) else wholes.get(near(name, wholes), "")
            told = phrase("there is no `%(name)s`; did you mean `%(close)s`?", name=name, close=close)
            yield Mistake(told if close else no_such(name, VARIABLES), node.lineno)


def _unknown_parts(tree: nodes.Template) -> Iterator[Mistake]:
    has = _kinds_of_names(tree)
    asked: list[nodes.Getattr | nodes.Getitem] = [*tree.find_all(nodes.Getattr), *tree.find_all(nodes.Getitem)]
    for node in asked:
        if isinstance(node.node, nodes.Name) and node.node.name in has:
            part = node.attr if isinstance(node, nodes.Getattr) else _quoted(node.arg)
            known = has[node.node.name]
            if part and not part.startswith("_") and part not in known:
                yield Mistake(no_such(part, known, f"{node.node.name}."), node.lineno)


def _kinds_of_names(tree: nodes.Template) -> dict[str, tuple[str, ...]]:
    """What the parts of a name are, for names that stand for one thing in the whole text."""
    own = Counter(node.name for node in tree.find_all(nodes.Name) if node.ctx in ("store", "param"))
    loops = list(tree.find_all(nodes.For))
    lines = Counter((loop.target.name, _through(loop.iter)) for loop in loops if isinstance(loop.target, nodes.Name))
    return {
        **{name: parts for name, parts in _PARTS.items() if name not in own},
        **{name: _LOOPED[of] for (name, of), count in lines.items() if of in _LOOPED and own[name] == count},
        **({"loop": _LOOP} if loops and "loop" not in own else {}),
    }


def _through(through: nodes.Node | None) -> str:
    """The name of the list that a loop goes through, whatever is done with it first."""
    while isinstance(through, nodes.Filter) or (
        isinstance(through, nodes.Getitem) and isinstance(through.arg, nodes.Slice)
    ):
        through = through.node
    return (
        through.attr if isinstance(through, nodes.Getattr) else through.name if isinstance(through, nodes.Name) else ""
    )


def _quoted(argument: nodes.Node) -> str:
    return argument.value if isinstance(argument, nodes.Const) and isinstance(argument.value, str) else ""


# Names, while it is filled in.


class Missing(StrictUndefined):
    """Stands where there is nothing; whatever is done with it says so in plain words."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        obj, name = self._undefined_obj, self._undefined_name
        if self._undefined_hint:
            return self._undefined_hint
        if obj is missing:
            return no_such(str(name), VARIABLES)
        lacking = [view for view in _OPTIONAL if name in _PARTS[view]] if obj is None else []
        if lacking == ["order"]:
            return phrase(
                "`order.%(name)s` has nothing to show where a message follows no order: put it between {%% if order %%} and {%% endif %%}.",
                name=name,
            )
        if lacking:
            return phrase(
                "`%(name)s` is asked of what not every message has (%(views)s): put it between {%% if … %%} and {%% endif %%}.",
                name=name,
                views=lacking,
            )
        view = VIEWS.get(obj.__class__, "")
        if view:
            known = _PARTS[view] if view in _PARTS else _LOOPED["lines" if view == "line" else _PARTS["answers"][0]]
            return no_such(str(name), known, f"{view}.")
        kind = next((word for of, word in _KINDS.items() if isinstance(obj, of)), phrase("an empty value"))
        return phrase("there is no %(name)s in %(kind)s.", name=f"`{name}`", kind=kind)


# What cannot be read.

_END = {"end of print statement": "}}", "end of statement block": "%}"}


def of_syntax(error: TemplateSyntaxError, source: str) -> Mistake:
    """What a text cannot be read for."""
    told = error.message or ""
    if isinstance(told, Phrase):
        return Mistake(_whole(told), error.lineno)
    for form, words in _SYNTAX:
        if found := form.search(told):
            return words(found, error.lineno, source)
    return Mistake(phrase("something is written there that cannot be read."), error.lineno)


def _whole(told: Phrase) -> Phrase:
    return told if told.endswith(("?", ".")) else phrase("%(why)s.", why=told)


def _said(what: str) -> Callable[[re.Match[str], int, str], Mistake]:
    return lambda _found, line, _source: Mistake(what, line)


def _unclosed_print(_found: re.Match[str], line: int, source: str) -> Mistake:
    opened = source.rfind("{{")
    return Mistake(phrase("a {{ is not closed with }}."), source.count("\n", 0, opened) + 1 if opened >= 0 else line)


def _unclosed_block(found: re.Match[str], line: int, source: str) -> Mistake:
    """A text that ends, or goes on with another tag, before a block is closed; told where the block begins."""
    tag, name = found["tag"] or "", found["block"]
    if tag and tag not in _TAGS:
        return _unknown_tag(tag, line)
    begins = _begins(source, name, line if tag else 0)
    if not tag:
        return Mistake(phrase("{%% %(name)s %%} is not closed with {%% end%(name)s %%}.", name=name), begins)
    what = phrase(
        "{%% %(tag)s %%} comes before the {%% %(name)s %%} of line %(begins)s is closed with {%% end%(name)s %%}.",
        tag=tag,
        name=name,
        begins=begins,
    )
    return Mistake(what, line)


def _begins(source: str, block: str, until: int) -> int:
    """The line of the last block of that name that is still open at the end, or at a line."""
    lines = source.split("\n")
    text = "\n".join(lines[:until] if until else lines)
    opened: list[int] = []
    for tag in re.finditer(r"\{%[-+]?\s*(\w+)", text):
        if tag[1] == block:
            opened.append(text.count("\n", 0, tag.start()) + 1)
        elif tag[1] == f"end{block}" and opened:
            opened.pop()
    return opened[-1] if opened else until or 1


def _unknown_tag(tag: str, line: int) -> Mistake:
    if tag.startswith("end") and tag in _TAGS:
        return Mistake(
            phrase("{%% %(tag)s %%} closes nothing: no {%% %(name)s %%} is open.", tag=tag, name=tag[3:]), line
        )
    if tag in ("else", "elif"):
        return Mistake(phrase("{%% %(tag)s %%} stands outside of {%% if %%} and {%% endif %%}.", tag=tag), line)
    close = "elif" if tag in ("elseif", "elsif") else near(tag, _TAGS)
    if close:
        return Mistake(
            phrase("there is no {%% %(tag)s %%}; did you mean {%% %(close)s %%}?", tag=tag, close=close), line
        )
    return Mistake(phrase("there is no {%% %(tag)s %%}.", tag=tag), line)


def _missing_before(found: re.Match[str], line: int, _source: str) -> Mistake:
    return Mistake(phrase("something is missing before %(end)s.", end=_END[found["end"]]), line)


def _unexpected(found: re.Match[str], line: int, source: str) -> Mistake:
    got = found["got"]
    before = "\n".join(source.split("\n")[: line - 1])
    if before.rfind("{{") > before.rfind("}}"):
        # It goes on over the end of its line: what was forgotten is its end.
        return _unclosed_print(found, line, before)
    if got in ("'", '"'):
        return Mistake(phrase("a quotation mark is not closed."), line)
    if got == "=":
        return Mistake(phrase("to compare, write == in place of =."), line)
    if got == "}":
        return Mistake(phrase("a {{ is closed with }}, a {% with %}."), line)
    return Mistake(phrase("%(found)s cannot stand there.", found=f"`{got}`"), line)


def _unknown_test(found: re.Match[str], line: int, _source: str) -> Mistake:
    return Mistake(no_such(found["got"], [name for name in TESTS if name.isalpha()], "is "), line)


_SYNTAX: tuple[tuple[re.Pattern[str], Callable[[re.Match[str], int, str], Mistake]], ...] = tuple(
    (re.compile(form), words)
    for form, words in (
        (r"unexpected end of template, expected 'end of print", _unclosed_print),
        (
            r"(?:unknown tag '(?P<tag>\w+)'.*|Unexpected end of template.*)block that needs to be closed is '(?P<block>\w+)'",
            _unclosed_block,
        ),
        (r"unknown tag '(?P<tag>\w+)'", lambda found, line, _source: _unknown_tag(found["tag"], line)),
        (r"unexpected end of template", _said(phrase("a {% is not closed with %}."))),
        (r"end of comment", _said(phrase("a {# is not closed with #}."))),
        (r"end of raw", _said(phrase("{% raw %} is not closed with {% endraw %}."))),
        (r"(?:Expected an expression, got|^unexpected) '(?P<end>end of [a-z ]+)'", _missing_before),
        (r"expected token 'in'", _said(phrase("a loop is written as {% for line in order.lines %}."))),
        (r"expected name or number", _said(phrase("a name is missing after a point."))),
        (r"expected '\)'", _said(phrase("a ( is not closed with )."))),
        (r"No test named '(?P<got>\w+)'", _unknown_test),
        (r"tag name expected", _said(phrase("{% and %} have nothing between them."))),
        (r"(?:got|unexpected(?: char)?) (?P<q>['\"])(?P<got>.+?)(?P=q)(?: at|,|$)", _unexpected),
    )
)


# What cannot be worked out.


def of_rendering(error: Exception) -> Mistake:
    """What a text cannot be filled in for."""
    told = getattr(error, "message", None) or str(error)
    if isinstance(error, UndefinedError):
        return Mistake(told, _line(error))
    if isinstance(error, SecurityError) and isinstance(told, Phrase):
        return Mistake(_whole(told), _line(error))
    return Mistake(_worked_out(error, told), _line(error))


def _worked_out(error: Exception, told: str) -> Phrase:
    if isinstance(error, ZeroDivisionError):
        return phrase("it divides by zero.")
    if "not supported between" in told:
        return phrase("it compares what is not of one kind. Amounts such as `member.spent` are texts.")
    if re.search("unsupported operand|can only concatenate|can't multiply|bad operand", told):
        return phrase("it counts with what is no number. Amounts such as `member.spent` are texts.")
    if re.search("argument", told):
        return phrase("what stands in the brackets there does not fit.")
    return phrase("what is done there does not fit what it is done to.")


def _line(error: BaseException) -> int:
    """The line of the text, which Jinja puts into the trace."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<template>":
            line = trace.tb_lineno
        trace = trace.tb_next
    return line


def missing_name(error: Exception) -> str:
    """The name that a missing value was asked by."""
    told = getattr(error, "message", "")
    values: dict[str, Any] = told.values if isinstance(told, Phrase) else {}
    return str(values.get("name", "")).strip("`").rpartition(".")[2]
