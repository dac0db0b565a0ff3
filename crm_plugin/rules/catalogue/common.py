"""Parameters that several fields take, and reading their arguments."""

from __future__ import annotations

from crm_plugin.rules.nodes import Field
from crm_plugin.rules.spec import Parameter, Text
from crm_plugin.rules.windows import ANCHORS

DAYS = Parameter("days", int, Text("in the last … days", "最近多少天"))
FROM_DATE = Parameter("from_date", str, Text("from this day on", "从哪一天起"), is_day=True)
TO_DATE = Parameter("to_date", str, Text("up to this day", "到哪一天止"), is_day=True)
SINCE = Parameter("since", str, Text("since a day of the member's own", "从会员自己的哪一天算起"), choices=ANCHORS)
SPAN = (DAYS, FROM_DATE, TO_DATE, SINCE)
# For what is known by its instant alone, which is not compared with a day of each member's own.
PLAIN_SPAN = (DAYS, FROM_DATE, TO_DATE)

# Stands between the names that one argument lists.
BETWEEN = ";"

CHANNELS = ("email", "sms", "inapp")
CHANNEL_NAMES = {
    "email": Text("e-mail", "邮件"),
    "sms": Text("SMS", "短信"),
    "inapp": Text("in-app message", "站内消息"),
}


def text_of(field: Field, name: str) -> str | None:
    """A text argument; None when it was not given."""
    value = field.arg(name)
    return None if value is None else str(value)
