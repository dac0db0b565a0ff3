"""Coupons put into members' accounts. Taobao knows no codes that a buyer types in: what is ordered as a code comes to its member.

Two ways. A benefit that the merchant has set up at Alibaba is given with our own id, so asking twice gives it once. A shop coupon has no
such id: it is given once, and where no answer came nobody knows whether it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from crm_plugin.adapters.raw import any_json
from crm_plugin.adapters.storefronts.taobao.client import TopClient
from crm_plugin.adapters.storefronts.taobao.envelope import ADAPTER, Answer
from crm_plugin.adapters.storefronts.taobao.values import CURRENCY, in_yuan, told_at
from crm_plugin.errors import (
    ActionRequired,
    AdapterError,
    InvalidInput,
    MalformedResponse,
    PermanentError,
    UnsupportedFeature,
)
from crm_plugin.money import parse_minor
from crm_plugin.phrases import phrase
from crm_plugin.records import CouponMade, CouponOrder

ADD = "taobao.promotion.coupon.add"
SEND = "taobao.promotion.coupon.send"
GIVE = "taobao.promotion.benefit.activity.send"
AT_ONCE = 100
# What a shop coupon takes off, in fen.
DENOMINATIONS = (300, 500, 1000, 2000, 5000, 10000)


@dataclass(frozen=True, slots=True)
class Benefit:
    """A benefit that the merchant has set up at Alibaba; amounts in fen."""

    amount_minor: int
    least_minor: int
    relation_id: str
    detail_id: str
    benefit_type: str


def benefits_of(told: Any) -> tuple[Benefit, ...]:
    """The benefits of the settings: [{"amount": "10", "least": "100", "relation_id": …, "detail_id": …, "benefit_type": …}].

    Raises: InvalidInput for anything else.
    """
    rows = any_json(told.encode()) if isinstance(told, str) else told
    try:
        return tuple(
            Benefit(
                parse_minor(row["amount"], CURRENCY),
                parse_minor(row.get("least", "0"), CURRENCY),
                *(str(row[name]) for name in ("relation_id", "detail_id", "benefit_type")),
            )
            for row in rows or ()
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InvalidInput(
            phrase("The benefits cannot be read."),
            field="benefits",
            hint=phrase(
                "Each has amount, relation_id, detail_id and benefit_type, and least where a minimum is spent."
            ),
        ) from error


class Coupons:
    """Gives coupons to members of one shop."""

    def __init__(self, client: TopClient, benefits: tuple[Benefit, ...]) -> None:
        self._client = client
        self._benefits = benefits
        # Shop coupons that were made for an order, so that its next hundred members get the same.
        self._made: dict[tuple[Any, ...], str] = {}

    def create(self, order: CouponOrder) -> list[CouponMade]:
        """See the contract; each code stands for one coupon of the member beside it."""
        amount = _amount(order)
        if len(order.references) != len(order.codes):
            raise UnsupportedFeature(
                phrase("Taobao gives coupons to members alone, one for each code."), adapter=ADAPTER, operation=SEND
            )
        wanted = (amount, order.least_minor)
        benefit = next((one for one in self._benefits if (one.amount_minor, one.least_minor) == wanted), None)
        pairs = list(zip(order.codes, order.references, strict=True))
        if benefit is not None:
            return [self._given(benefit, order, code, ouid) for code, ouid in pairs]
        if amount not in DENOMINATIONS:
            raise ActionRequired(
                phrase("Taobao has no coupon of %(amount)s %(currency)s.", amount=in_yuan(amount), currency=CURRENCY),
                hint=phrase(
                    "Shop coupons take off 3, 5, 10, 20, 50 or 100 yuan; for another amount set up a benefit at Alibaba and "
                    "enter it in the settings of the store."
                ),
                code="no_such_coupon",
                adapter=ADAPTER,
                operation=ADD,
            )
        return self._sent(self._coupon(order, amount), pairs)

    def _given(self, benefit: Benefit, order: CouponOrder, code: str, ouid: str) -> CouponMade:
        key = f"{order.reference}:{code}"
        request = {
            "unique_id": key,
            "relation_id": benefit.relation_id,
            "detail_id": benefit.detail_id,
            "benefit_type": benefit.benefit_type,
            "send_count": 1,
        }
        try:
            answer = self._client.call(GIVE, {"ouid": ouid, "send_request": request}, attempts=1)
        except AdapterError as error:
            return CouponMade(code, error=error)
        if not answer.flag("is_success"):
            return CouponMade(code, error=_refused(phrase("Taobao did not give the coupon."), GIVE))
        return CouponMade(code, answer.text("unique_id") or key, is_restricted=True)

    def _coupon(self, order: CouponOrder, amount: int) -> str:
        if order.starts_at is None or order.ends_at is None:
            raise _refused(phrase("A coupon of Taobao needs its first and its last day."), ADD)
        terms = (order.reference, amount, order.least_minor, order.starts_at, order.ends_at)
        if terms not in self._made:
            asked = {
                "denominations": in_yuan(amount),
                "condition": in_yuan(order.least_minor) if order.least_minor else None,
                "start_time": told_at(order.starts_at),
                "end_time": told_at(order.ends_at),
            }
            number = self._client.once(ADD, asked).text("coupon_id")
            if not number:
                raise _malformed(ADD, "$.coupon_id")
            self._made[terms] = number
        return self._made[terms]

    def _sent(self, coupon: str, pairs: list[tuple[str, str]]) -> list[CouponMade]:
        data = [{"ouid": ouid} for _, ouid in pairs]
        answer = self._client.once(SEND, {"coupon_id": coupon, "ouid_data": data})
        numbers, refused = _results(answer), _failures(answer)
        # It says success also where everybody was refused: only the two lists tell, and the first may be left out when all went well.
        done = answer.flag("is_success")
        made: list[CouponMade] = []
        for code, ouid in pairs:
            if ouid in refused:
                said = phrase("Taobao did not give the coupon (%(said)s).", said=refused[ouid])
                made.append(CouponMade(code, error=_refused(said, SEND)))
            elif ouid in numbers or (done and not numbers):
                made.append(CouponMade(code, numbers.get(ouid, ""), is_restricted=True))
            else:
                made.append(CouponMade(code, error=_malformed(SEND, "$.coupon_results")))
        return made


def _amount(order: CouponOrder) -> int:
    if order.amount_minor is None or order.percent is not None:
        raise UnsupportedFeature(
            phrase("Taobao's coupons take off an amount, not a part."), adapter=ADAPTER, operation="create_coupons"
        )
    if order.currency not in ("", CURRENCY):
        raise UnsupportedFeature(
            phrase("Taobao's coupons are in %(currency)s.", currency=CURRENCY),
            adapter=ADAPTER,
            operation="create_coupons",
        )
    return order.amount_minor


def _results(answer: Answer) -> dict[str, str]:
    rows = (any_json(raw) for raw in answer.rows("coupon_results", "coupon_result"))
    return {str(row["ouid"]): str(row.get("coupon_number") or "") for row in rows if _names(row)}


def _failures(answer: Answer) -> dict[str, str]:
    rows = (any_json(raw) for raw in answer.rows("failure_buyers", "error_message"))
    return {str(row["ouid"]): str(row.get("reason") or "") for row in rows if _names(row)}


def _names(row: Any) -> bool:
    return isinstance(row, Mapping) and bool(row.get("ouid"))


def _refused(message: str, operation: str) -> PermanentError:
    return PermanentError(message, adapter=ADAPTER, operation=operation)


def _malformed(operation: str, path: str) -> MalformedResponse:
    return MalformedResponse(
        phrase("Taobao's answer to %(method)s cannot be read.", method=operation),
        adapter=ADAPTER,
        operation=operation,
        path=path,
    )
