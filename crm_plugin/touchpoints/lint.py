"""What is allowed in a text and still unwise: told when it is shown and saved, never refused.

Marketing by text message must say how to stop it, by a keyword to answer with or a link: in the United States by 47 CFR 64.1200, in
China by the ministry's rule for short messages of 2015-06-30 (read in autumn 2026).
"""

from __future__ import annotations

import re

from crm_plugin.phrases import Phrase, phrase
from crm_plugin.touchpoints.render import Rendered

# A keyword stands in capitals, so that "weekend ends" and "non-stop" are none.
_WAY_OUT = re.compile(
    r"\b(?:STOP|STOPALL|STOPP|UNSUBSCRIBE|END|QUIT|CANCEL|REVOKE|OPTOUT|REMOVE|ARRET|ARRÊT)\b"
    r"|(?i:unsubscribe|opt[ -]?out)|退订|拒收|拒絕|退訂"
)


def warnings(channel: str, made: Rendered, *, marketing: bool, link: str = "") -> list[Phrase]:
    """What should be mended in a message as its reader gets it; `link` is the link to unsubscribe that it may hold."""
    if channel == "sms" and marketing and not _WAY_OUT.search(made.text) and not (link and link in made.text):
        chinese = made.locale.lower().startswith("zh")
        example = (
            "{% if marketing %} 拒收请回复R{% endif %}"
            if chinese
            else "{% if marketing %} Reply STOP to opt out{% endif %}"
        )
        return [
            phrase(
                "This text message is marketing and does not say how to stop it, which the law asks for in many countries. "
                "End it with: %(example)s",
                example=example,
            )
        ]
    return []
