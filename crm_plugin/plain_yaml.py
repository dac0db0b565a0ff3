"""YAML read without surprises: a word stays the word that was written, and nothing stands for what was written before.

YAML 1.1 turns `21:00` into 1260 and `no` into false; an alias makes a few lines stand for gigabytes.
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from yaml.nodes import Node


class Unwanted(yaml.MarkedYAMLError):
    """YAML that we do not take."""


class WordReader(yaml.SafeLoader):
    """The safe loader with fewer meanings: true and false, null, and texts; a subclass may add some."""

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        if self.check_event(yaml.AliasEvent):
            mark = self.get_event().start_mark  # type: ignore[no-untyped-call]
            raise Unwanted(problem="*name is not read here, write it out", problem_mark=mark)
        return super().compose_node(parent, index)


WordReader.yaml_implicit_resolvers = {}
for _tag, _form, _first in (("bool", "true|false", "tf"), ("null", "null|~|", ["n", "~", ""])):
    WordReader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(rf"(?:{_form})\Z"), list(_first))
