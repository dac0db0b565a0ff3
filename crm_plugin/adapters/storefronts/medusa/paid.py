"""What was paid for an order of Medusa's, and what came back and was given back. Pure, as `mapping.py`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal

from crm_plugin.adapters.raw import FieldError
from crm_plugin.adapters.storefronts import limits
from crm_plugin.adapters.storefronts.medusa import payloads
from crm_plugin.adapters.storefronts.medusa.payloads import Exact
from crm_plugin.money import parse_minor
from crm_plugin.phrases import phrase
from crm_plugin.records import RefundRecord

# What a credit line refers to that stands for a refund.
_GIVEN_BACK = "payment_collection"


def paid_at(row: payloads.Order) -> datetime | None:
    """When it was captured last."""
    times = [one.captured_at for one in _payments(row)]
    times += [capture.created_at for one in _payments(row) for capture in one.captures or ()]
    return latest(times, "$.payment_collections")


def charged(row: payloads.Order, currency: str) -> int:
    """What was charged. Medusa's own total falls with what came back and with what was given back, and that is told as refunds."""
    told = minor(row.raw_total, row.total, currency, "$.total")
    told += sum(returned(one, currency, "$.items") for one in row.items or ())
    told += sum(
        minor(one.raw_amount, one.amount, currency, "$.credit_lines")
        for one in row.credit_lines or ()
        if one.reference == _GIVEN_BACK
    )
    captures = (capture for one in _payments(row) for capture in one.captures or ())
    return max(told, sum(minor(one.raw_amount, one.amount, currency, "$.payment_collections") for one in captures))


def returned(row: payloads.Item, currency: str, path: str) -> int:
    """By how much a line's total is smaller for what came back: of those pieces it is told what they were sold for."""
    detail = row.detail or payloads.Detail()
    pieces = (detail.return_received_quantity or 0) + (detail.return_dismissed_quantity or 0)
    if pieces <= 0:
        return 0
    came = minor(row.raw_return_received_total, row.return_received_total, currency, f"{path}.return_received_total")
    came += minor(
        row.raw_return_dismissed_total, row.return_dismissed_total, currency, f"{path}.return_dismissed_total"
    )
    left = minor(row.raw_total, row.total, currency, f"{path}.total")
    whole = came * Decimal(str(row.quantity)) / Decimal(str(pieces))
    # Older versions take nothing off: their total is the whole already.
    return came if abs(left + came - whole) <= abs(left - whole) else 0


def refunds(row: payloads.Order, currency: str, member: str) -> tuple[RefundRecord, ...]:
    """What was given back."""
    told = [one for payment in _payments(row) for one in payment.refunds or ()]
    return tuple(
        RefundRecord(
            external_id=one.id,
            amount_minor=amount,
            currency=currency,
            order_external_id=row.id,
            member_external_id=member,
            refunded_at=at_of(one.created_at, "$.payment_collections"),
            updated_at=at_of(one.created_at, "$.payment_collections"),
            reason=(one.note or "").strip(),
        )
        for one in told
        if (amount := minor(one.raw_amount, one.amount, currency, "$.payment_collections")) > 0
    )


def minor(exact: Exact | None, amount: Decimal | None, currency: str, path: str) -> int:
    """An amount in minor units, the exact one where it is told; 0 for none. Raises: FieldError."""
    told = amount if exact is None else exact.value
    if told is None:
        return 0
    try:
        return parse_minor(str(told), currency)
    except ValueError as error:
        raise FieldError(phrase("%(told)r is not an amount", told=str(told)), path) from error


def latest(times: list[datetime | None], path: str) -> datetime | None:
    """The last of these times. Raises: FieldError."""
    found = [at for at in times if at is not None]
    return at_of(max(found), path) if found else None


def at_of(value: datetime | None, path: str) -> datetime | None:
    """A time as aware UTC. Raises: FieldError."""
    return None if value is None else limits.instant(value, path)


def _payments(row: payloads.Order) -> Iterator[payloads.Payment]:
    for collection in row.payment_collections or ():
        yield from collection.payments or ()
