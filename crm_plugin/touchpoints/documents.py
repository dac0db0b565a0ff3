"""YAML for programme files and recipes: read without surprises, written so that people like to read it.

YAML gives a repeated key its last value; here what is written twice is refused with its line (`plain_yaml.py` has the rest).
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from crm_plugin.errors import InvalidInput
from crm_plugin.plain_yaml import Unwanted, WordReader

# A programme of hundreds of texts is far smaller; what is larger is another file.
LONGEST_DOCUMENT = 5_000_000
_MOST_DEPTH = 40
# Line ends that YAML's block form does not give back as they were.
_ODD_ENDS = re.compile("[\r\x85\u2028\u2029\ufeff]")


class _Reader(WordReader):
    """Numbers besides."""


for _tag, _form, _first in (
    ("int", r"-?(0|[1-9][0-9]*)", "-0123456789"),
    ("float", r"-?(0|[1-9][0-9]*)\.[0-9]+", "-0123456789"),
):
    _Reader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_form})\Z"), list(_first))


def read(text: str, name: str) -> Any:
    """The document of a YAML text; None for an empty one. Raises: InvalidInput with the line; `name` is what the words call the file."""
    if len(text) > LONGEST_DOCUMENT:
        raise InvalidInput(f"{name} is longer than {LONGEST_DOCUMENT} characters.", hint="Is it the right file?")
    try:
        reader = _Reader(text)
        try:
            root = reader.get_single_node()
            if root is None:
                return None
            _look_over(root, 0)
            return reader.construct_document(root)
        finally:
            reader.dispose()
    except Unwanted as error:
        raise _at(error, name, "") from error
    except yaml.MarkedYAMLError as error:
        raise _at(error, name, "Put texts that hold : or # in quotes.") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InvalidInput(f"{name} cannot be read as YAML.", hint="Is it a text file in UTF-8?") from error


def _at(error: yaml.MarkedYAMLError, name: str, hint: str) -> InvalidInput:
    mark = error.problem_mark or error.context_mark
    where = f"{name}, line {mark.line + 1}, column {mark.column + 1}" if mark else name
    problem = (error.problem or "cannot be read").rstrip(".")
    return InvalidInput(f"{where}: {problem}.", line=mark.line + 1 if mark else 0, hint=hint)


def _look_over(node: Node, depth: int) -> None:
    if depth > _MOST_DEPTH:
        _refuse("this is nested too deeply", node.start_mark)
    if isinstance(node, SequenceNode):
        for item in node.value:
            _look_over(item, depth + 1)
    if isinstance(node, MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if not isinstance(key, ScalarNode):
                _refuse("a key is a word", key.start_mark)
            if key.value in seen:
                _refuse(f"{key.value!r} is written twice", key.start_mark)
            seen.add(key.value)
            _look_over(value, depth + 1)


def _refuse(problem: str, mark: Any) -> NoReturn:
    raise Unwanted(problem=problem, problem_mark=mark)


class Inline(dict[str, Any]):
    """A mapping that is written on one line."""


class InlineList(list[Any]):
    """A list that is written on one line."""


class _Writer(yaml.SafeDumper):
    """Keys in the order given, lists set in, texts of several lines as blocks, nothing by reference."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _text(writer: yaml.SafeDumper, text: str) -> ScalarNode:
    style = None
    if _ODD_ENDS.search(text):
        style = '"'
    elif "\n" in text or "{{" in text or "{%" in text:
        # In a block a merchant may write quotes and apostrophes as they are.
        style = "|"
    return writer.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Writer.add_representer(str, _text)
_Writer.add_representer(
    Inline, lambda writer, data: writer.represent_mapping("tag:yaml.org,2002:map", data.items(), flow_style=True)
)
_Writer.add_representer(
    InlineList, lambda writer, data: writer.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)
)


def write(document: Any) -> str:
    """The document as YAML text; `read` gives it back."""
    text: str = yaml.dump(
        document, Dumper=_Writer, sort_keys=False, allow_unicode=True, default_flow_style=False, width=1_000
    )
    return text
