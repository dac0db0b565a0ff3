"""Why a rule holds for a member, in plain lines, in English or Chinese."""

from __future__ import annotations

from collections.abc import Iterator

from crm_plugin.rules.explain import ExplainedLeaf, Explanation
from crm_plugin.rules.fields import Text
from crm_plugin.rules.nodes import Everyone, Node
from crm_plugin.rules.words import leaf_words, words

_MATCHES = {
    True: Text("Yes, one of the", "是："),
    False: Text("No, not one of the", "不是："),
    None: Text("Unknown, so not one of the", "未知，因此不是："),
}
_UNKNOWN = Text("unknown", "未知")
_SIGNS = {True: "+", False: "-", None: "?"}


def lines(told: Explanation, node: Node, lang: str) -> Iterator[str]:
    """The answer, then each condition: + holds, - does not, ? is unknown."""
    said = _MATCHES[told.truth].in_language(lang)
    yield f"{said}{words(node, lang)}" if lang == "zh" else f"{said} {words(node, lang)}"
    for leaf in told.leaves:
        yield f"  {_SIGNS[leaf.truth]} {leaf_words(leaf.node, lang)}{_value(leaf, lang)}"


def _value(leaf: ExplainedLeaf, lang: str) -> str:
    if isinstance(leaf.value, bool) or isinstance(leaf.node, Everyone):
        return ""
    value = _UNKNOWN.in_language(lang) if leaf.value is None else f"“{leaf.value}”" if leaf.value == "" else leaf.value
    return f"（{value}）" if lang == "zh" else f" ({value})"
