"""What is told to Alibaba of one text, and what its answers mean. All that no live answer has confirmed stands here.

The fields of the task are those of the method's own metadata; the form of the answers is taken leniently: whichever of the usual names is
there counts, and an answer that says neither yes nor no is no answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from crm_plugin.adapters.storefronts.taobao.envelope import Answer
from crm_plugin.errors import ActionRequired, AdapterError, PermanentError, RecipientRefused, TransientError
from crm_plugin.phrases import phrase
from crm_plugin.redaction import redact

SEND = "taobao.opencrm.digital.sms.single.send"
RESULT = "taobao.opencrm.sms.qresult"
# Where Alibaba looks for the member's number, in this order.
_NUMBERS = (3, 1, 2)
_IDS = ("node_inst_id", "biz_id", "task_id", "module", "model")
_CODES = ("err_code", "error_code", "result_code", "code")
_WORDS = ("err_msg", "error_msg", "msg", "message")
_TEXTS = "sms"
# A limit on texts to one number is one of an hour, or of a day.
_HOUR = 3600.0
# The result codes are those of Alibaba's text service.
MERCHANT = frozenset(
    {
        "isv.sms_signature_illegal",
        "isv.sms_signature_scene_illegal",
        "isv.sign_state_illegal",
        "isv.amount_not_enough",
        "isv.out_of_service",
        "isv.day_limit_control",
        "isv.month_limit_control",
        "isp.ram_permission_deny",
        "isv.deny_ip_range",
        "isv.domestic_number_not_supported",
        "isv.account_abnormal",
        "isv.sms_template_illegal",
        "isv.template_missing_parameters",
    }
)
LATER = frozenset({"isp.system_error", "isv.business_limit_control"})
NOBODY = frozenset({"isv.mobile_number_illegal"})


def node_of(key: str) -> str:
    """Our own name for one text, short and of plain letters; the same at every try."""
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def task(ouid: str, text: str, node: str, *, signature: str, template: str, placeholder: str) -> dict[str, Any]:
    """The task of one text. Without a template the text itself is told, which Alibaba has to have approved as one of the seller's."""
    worded = {"tpl_code": template, "plh_val": {placeholder: text}} if template else {"seller_tpl": text}
    return {
        "deliver_targets": [ouid],
        "signature": signature,
        "out_node_inst_id": node,
        "mobile_acquisition_rule": list(_NUMBERS),
        **worded,
    }


def taken(answer: Answer) -> tuple[str, AdapterError | None] | None:
    """Alibaba's id of the text, empty where it tells none, or why it was refused; None for an answer that says neither."""
    told = dict(_fields(answer))
    success = told.get("success", told.get("is_success"))
    is_yes, is_no = str(success).lower() == "true", str(success).lower() == "false"
    number = next((str(told[name]) for name in _IDS if isinstance(told.get(name), str | int) and told[name]), "")
    if is_no:
        code = next((str(told[name]) for name in _CODES if told.get(name)), "")
        words = next((str(told[name]) for name in _WORDS if told.get(name)), "")
        return "", refusal(code, words)
    return (number, None) if is_yes or number else None


def refusal(code: str, words: str) -> AdapterError:
    """The error of a result code."""
    said = redact(f"{code} {words}".strip()[:200]) or "?"
    context: dict[str, Any] = {"adapter": "taobao_sms", "operation": "send", "excerpt": said}
    known = code.lower()
    if known in LATER or known.startswith("throttling"):
        pause = _HOUR if known == "isv.business_limit_control" else None
        return TransientError(
            phrase("Alibaba asks to try again later (%(said)s).", said=said), retry_after=pause, **context
        )
    if known in NOBODY:
        return RecipientRefused(phrase("Alibaba reaches this member by no number (%(said)s).", said=said), **context)
    if known in MERCHANT:
        return ActionRequired(
            phrase("Alibaba refuses (%(said)s).", said=said),
            hint=phrase(
                "Look after signature, template and balance in Alibaba's text console: only Alibaba approves them."
            ),
            **context,
        )
    return PermanentError(phrase("Alibaba refuses the message (%(said)s).", said=said), **context)


def asked_result(node: str, ouid: str) -> dict[str, str]:
    """What is asked to learn whether a text was taken."""
    return {"node_inst_id": node, "deliver_type": _TEXTS, "query_type": "detail", "targets": ouid}


def is_listed(answer: Answer, ouid: str) -> bool:
    """Whether the result names this member, and not as refused."""
    for wrapper, element in (("results", "result"), ("result_list", "result"), ("details", "detail")):
        for raw in answer.rows(wrapper, element):
            told = bytes(raw).decode("utf-8", "replace")
            if ouid in told and "FAIL" not in told.upper():
                return True
    return False


def _fields(answer: Answer) -> Iterator[tuple[str, Any]]:
    """The fields of the answer, those within its result last, so that they go before the others."""
    told = {name: answer.value(name) for name in answer.parts}
    yield from told.items()
    for inner in (told.get("result"), told.get("module"), told.get("data")):
        if isinstance(inner, Mapping):
            yield from inner.items()
