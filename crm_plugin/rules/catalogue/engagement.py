"""What became of the messages a member was sent."""

from __future__ import annotations

from collections.abc import Callable

from crm_plugin.rules.catalogue.common import CHANNELS, PLAIN_SPAN, text_of
from crm_plugin.rules.nodes import Field
from crm_plugin.rules.operands import Operand, Whole
from crm_plugin.rules.rows import CLICKED, MACHINE_OPENED, OPENED, RECEIVED, messages_of
from crm_plugin.rules.spec import ZERO, FieldSpec, Kind, Moves, Parameter, Scope, Source, Text, Unit
from crm_plugin.rules.windows import window_of

_OF = (
    Parameter("channel", str, Text("channel", "渠道"), choices=CHANNELS),
    Parameter("journey", str, Text("journey", "旅程"), names="journey"),
    *PLAIN_SPAN,
)


def _counted(what: str) -> Callable[[Scope, Field], Operand]:
    def sql(scope: Scope, field: Field) -> Operand:
        rows = messages_of(what, text_of(field, "channel"), text_of(field, "journey"))
        return Whole(scope.total(rows, "count", window_of(field)))

    return sql


def _row(what: str, label: Text, help_: Text) -> FieldSpec:
    return FieldSpec(
        what,
        Kind.NUMBER,
        label,
        help_,
        ZERO,
        (Source.MESSAGES,),
        _counted(what),
        Unit.COUNT,
        _OF,
        moves=Moves.WINDOW,
        example=('channel="email", days=90', ">= 1"),
    )


ROWS = (
    _row(
        RECEIVED,
        Text("number of messages received{messages}", "收到的消息数{messages}"),
        Text("Sent and not come back, by the day of sending.", "已发送且未被退回，按发送日期计算。"),
    ),
    _row(
        OPENED,
        Text("number of messages opened{messages}", "打开的消息数{messages}"),
        Text(
            "Opened by a person as far as the provider can tell, each message once.",
            "据服务商判断由本人打开，每条消息计一次。",
        ),
    ),
    _row(
        CLICKED,
        Text("number of messages clicked{messages}", "点击的消息数{messages}"),
        Text("A link in it was followed, each message once.", "点击了其中的链接，每条消息计一次。"),
    ),
    _row(
        MACHINE_OPENED,
        Text("number of messages opened by a machine{messages}", "被机器打开的消息数{messages}"),
        Text("Opened by a mail system that loads pictures ahead.", "由预先加载图片的邮件系统打开。"),
    ),
)
