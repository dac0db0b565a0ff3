"""What a store says of many things at once: the status of the whole is 200, and each that was refused says why beside the others."""

from __future__ import annotations

from typing import Any

import msgspec

from crm_plugin.adapters.storefronts.woocommerce.errors import ADAPTER
from crm_plugin.errors import MalformedResponse
from crm_plugin.phrases import Phrase, phrase
from crm_plugin.redaction import redact


class Refusal(msgspec.Struct):
    """Why one of them was not done."""

    code: str | int = ""
    message: str | None = ""

    @property
    def said(self) -> Phrase:
        """The same as a sentence, without secrets."""
        message, code = redact(self.message or ""), str(self.code)
        return phrase("The store refused the request: %(message)s (%(code)s).", message=message, code=code)


def read_answer(answer: Any, form: Any, operation: str, path: str = "$") -> Any:
    """The answer in its form, a struct of the caller's. Raises: MalformedResponse."""
    try:
        return msgspec.convert(answer, form, strict=False)
    except msgspec.ValidationError as error:
        raise odd(operation, path) from error


def odd(operation: str, path: str) -> MalformedResponse:
    """The answer is none to what was asked."""
    return MalformedResponse(
        phrase("The store's answer has another form than asked for."), adapter=ADAPTER, operation=operation, path=path
    )
