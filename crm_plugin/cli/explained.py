"""Why a rule holds for a member, in plain lines, in English or Chinese."""

from __future__ import annotations

from collections.abc import Iterator

from crm_plugin.rules.called import Called
from crm_plugin.rules.explain import ExplainedLeaf, Explanation
from crm_plugin.rules.field_words import value_words
from crm_plugin.rules.fields import Text
from crm_plugin.rules.flip_words import manner, way_words
from crm_plugin.rules.nodes import Everyone, Node, Relation, Within
from crm_plugin.rules.words import leaf_words, words

_MATCHES = {
    True: Text("Yes, one of the", "是："),
    False: Text("No, not one of the", "不是："),
    None: Text("Unknown, so not one of the", "未知，因此不是："),
}
_TURNS = Text("It would be true with any of these:", "满足以下任一项即可：")
_LOSES = Text("It would no longer be true with any of these:", "出现以下任一情况将不再满足：")
_GAVE_UP = Text("There may be other ways; the search was cut short.", "可能还有其他办法；搜索已提前结束。")
_NO_WAY = Text("Nothing that we know how to change would turn it.", "没有已知的变化能改变结果。")
_UNKNOWN = Text("unknown", "未知")
_SIGNS = {True: "+", False: "-", None: "?"}


def lines(told: Explanation, node: Node, lang: str, by: Called) -> Iterator[str]:
    """The answer, then each condition: + holds, - does not, ? is unknown."""
    said = _MATCHES[told.truth].in_language(lang)
    sentence = words(node, lang, by)
    yield f"{said}{sentence}" if lang == "zh" else f"{said} {sentence}"
    for leaf in told.leaves:
        yield f"  {_SIGNS[leaf.truth]} {leaf_words(leaf.node, lang, by)}{_value(leaf, lang, by)}"
    if told.flip is None:
        return
    if told.flip.ways:
        yield (_LOSES if told.matches else _TURNS).in_language(lang)
    for way in told.flip.ways:
        yield f"  * {way_words(way, told.as_of, manner(lang, told.currency, by))}"
    if told.flip.gave_up:
        yield _GAVE_UP.in_language(lang)
    elif not told.flip.ways:
        yield _NO_WAY.in_language(lang)


def _value(leaf: ExplainedLeaf, lang: str, by: Called) -> str:
    if isinstance(leaf.value, bool) or isinstance(leaf.node, Everyone | Within):
        return ""
    if leaf.value is None:
        value = _UNKNOWN.in_language(lang)
    else:
        # Of a calculation there is no unit.
        value = (
            str(leaf.value) if isinstance(leaf.node, Relation) else value_words(leaf.node.field, leaf.value, lang, by)
        )
    return f"（{value}）" if lang == "zh" else f" ({value})"
