"""What was paid for an order of Saleor's, and what was given back. Pure, as `mapping.py`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from crm_plugin.adapters.raw import FieldError
from crm_plugin.adapters.storefronts import limits
from crm_plugin.adapters.storefronts.saleor import payloads
from crm_plugin.adapters.storefronts.saleor.payloads import Money
from crm_plugin.money import to_minor
from crm_plugin.phrases import phrase
from crm_plugin.records import RefundRecord

PAID = frozenset({"FULL", "OVERCHARGED"})


def paid_at(row: payloads.Order) -> datetime | None:
    """When the last of it was paid; None while something is open."""
    if row.charge_status not in PAID:
        return None
    times = [one.created_at for one in _events(row) if one.type == "CHARGE_SUCCESS" and one.created_at]
    times += [one.created for one in _payments(row) if one.kind in ("CAPTURE", "EXTERNAL") and one.created]
    return at_of(max(times), "$.transactions") if times else None


def refunds(row: payloads.Order, currency: str, member: str) -> tuple[RefundRecord, ...]:
    """What was given back, by whichever way; what no payment tells of is one refund more, without a day."""
    told = [
        (one.id, one.amount, one.created_at, one.message)
        for transaction in row.transactions or ()
        for one in _given_back(transaction.events or [])
    ]
    told += [(one.id, one.amount, one.created, "") for one in _payments(row) if one.kind == "REFUND"]
    found = [
        RefundRecord(
            external_id=name,
            amount_minor=amount,
            currency=currency,
            order_external_id=row.id,
            member_external_id=member,
            refunded_at=at_of(at, "$.transactions"),
            updated_at=at_of(at, "$.transactions"),
            reason=(reason or "").strip(),
        )
        for name, money, at, reason in told
        if (amount := minor(money, currency, "$.transactions")) > 0
    ]
    rest = minor(row.total_refunded, currency, "$.totalRefunded") - sum(one.amount_minor for one in found)
    found += _charged_back(row, currency, member)
    if rest > 0:
        found.append(
            RefundRecord(
                external_id=f"{row.id}:rest",
                amount_minor=rest,
                currency=currency,
                order_external_id=row.id,
                member_external_id=member,
            )
        )
    return tuple(found)


def minor(money: Money | None, currency: str, path: str) -> int:
    """An amount in minor units; 0 for none. Raises: FieldError."""
    if money is None:
        return 0
    try:
        return to_minor(money.amount, currency)
    except ValueError as error:
        raise FieldError(phrase("%(told)r is not an amount", told=str(money.amount)), path) from error


def at_of(value: datetime | None, path: str) -> datetime | None:
    """A time as aware UTC. Raises: FieldError."""
    return None if value is None else limits.instant(value, path)


def _events(row: payloads.Order) -> Iterator[payloads.Event]:
    for transaction in row.transactions or ():
        yield from transaction.events or ()


def _payments(row: payloads.Order) -> Iterator[payloads.Payment]:
    for payment in row.payments or ():
        yield from (one for one in payment.transactions or () if one.is_success)


def _given_back(events: list[payloads.Event]) -> list[payloads.Event]:
    """A transaction's refunds without those that the payment provider took back: for each such, the last of its amount."""
    found = [one for one in events if one.type == "REFUND_SUCCESS"]
    for taken in (one for one in events if one.type == "REFUND_REVERSE"):
        same = [one for one in found if one.amount == taken.amount]
        if same:
            found.remove(same[-1])
    return found


def _charged_back(row: payloads.Order, currency: str, member: str) -> list[RefundRecord]:
    """What the customer's bank took back: money given back as any, which Saleor does not count among its refunds."""
    return [
        RefundRecord(
            external_id=one.id,
            amount_minor=amount,
            currency=currency,
            order_external_id=row.id,
            member_external_id=member,
            refunded_at=at_of(one.created_at, "$.transactions"),
            updated_at=at_of(one.created_at, "$.transactions"),
            reason=(one.message or "").strip(),
        )
        for one in _events(row)
        if one.type == "CHARGE_BACK" and (amount := minor(one.amount, currency, "$.transactions")) > 0
    ]
