"""Consent to mails and to texts, both ways: what the shop knows of it, and what a member said here."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import msgspec

from crm_plugin.adapters.storefronts import limits
from crm_plugin.adapters.storefronts.shopify import errors, payloads
from crm_plugin.adapters.storefronts.shopify.client import ShopifyClient
from crm_plugin.adapters.storefronts.shopify.errors import ADAPTER, UserError
from crm_plugin.errors import PermanentError, UnsupportedFeature
from crm_plugin.phrases import phrase
from crm_plugin.records import ConsentRecord, ConsentState

# Who was never asked, or has not answered yet, said neither.
STATES = {"SUBSCRIBED": ConsentState.GRANTED, "UNSUBSCRIBED": ConsentState.WITHDRAWN}
_WORDS = {state: word for word, state in STATES.items()}
# How the mutation of each channel is called, where its input stands, and what the account has to have.
_WAYS = {
    "email": ("email_consent", "emailMarketingConsent", "defaultEmailAddress"),
    "sms": ("sms_consent", "smsMarketingConsent", "defaultPhoneNumber"),
}


class _Done(msgspec.Struct):
    customer: dict[str, Any] | None = None
    user_errors: list[UserError] = msgspec.field(name="userErrors", default_factory=list)


class _Data(msgspec.Struct):
    done: _Done


def consents(email: payloads.Email | None, phone: payloads.Phone | None) -> tuple[ConsentRecord, ...]:
    """What the shop knows."""
    told = []
    if email is not None:
        told.append(_record("email", email.marketing_state, email.marketing_opt_in_level, email.marketing_updated_at))
    if phone is not None and (new := phone.sms_marketing_consent) is not None:
        told.append(_record("sms", new.state, new.opt_in_level, new.updated_at))
    elif phone is not None:
        told.append(_record("sms", phone.marketing_state, phone.marketing_opt_in_level, phone.marketing_updated_at))
    return tuple(one for one in told if one is not None)


def _record(channel: str, state: str, level: str | None, at: datetime | None) -> ConsentRecord | None:
    if state not in STATES:
        return None
    proof = {"opt_in_level": level.lower()} if level else {}
    when = limits.instant(at, "$.updatedAt") if at else None
    return ConsentRecord(channel=channel, state=STATES[state], at=when, source=f"{ADAPTER}:customer", proof=proof)


def write(client: ShopifyClient, reference: str, consent: ConsentRecord) -> None:
    """Tell the shop; of two words it keeps the newer.

    Raises: UnsupportedFeature for what the shop has no word for, PermanentError for an account that is gone, or without an address.
    """
    way = _WAYS.get(consent.channel)
    if way is None or consent.topic != "marketing":
        said = phrase("Shopify keeps consent to marketing by mail and by text, and no other.")
        raise UnsupportedFeature(said, adapter=ADAPTER, operation="write_consent")
    operation, field, address = way
    told: dict[str, Any] = {"marketingState": _WORDS[consent.state], "marketingOptInLevel": "SINGLE_OPT_IN"}
    if consent.at is not None:
        told["consentUpdatedAt"] = consent.at.astimezone(UTC).isoformat().replace("+00:00", "Z")
    given = {"customerId": f"gid://shopify/Customer/{reference}", field: told}
    done = client.change(operation, _Data, {"input": given}).done
    if done.user_errors:
        raise errors.for_user_errors(done.user_errors, operation)
    # To somebody without an address the shop says neither yes nor no, and does nothing.
    if not (done.customer or {}).get(address):
        said = phrase("The account has no address of this kind in the shop.")
        raise PermanentError(said, code="no_address", adapter=ADAPTER, operation=operation)
