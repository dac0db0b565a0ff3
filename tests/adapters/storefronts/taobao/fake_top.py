"""TOP at the network's edge, as strict as it is: each signature is checked, lists are filtered, sorted and paged as documented."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import Any
from urllib.parse import parse_qsl

import requests
import responses

from crm_plugin.adapters.storefronts.taobao.signing import sign

URL = "https://top.example/router/rest"
OAUTH = "https://login.example"
KEY, SECRET, SESSION = "12345678", "helloworld", "session-of-the-shop"
CHINA = timezone(timedelta(hours=8))
NOW = datetime(2026, 11, 1, 12, 0, tzinfo=CHINA)
VALUES = {
    "app_key": KEY,
    "app_secret": SECRET,
    "session": SESSION,
    "base_url": URL,
    "user_id": "263664221",
    "seller_nick": "灯笼小铺",
}
_FORM = "%Y-%m-%d %H:%M:%S"
Params = dict[str, str]
Row = dict[str, Any]


def at(when: datetime) -> str:
    return when.astimezone(CHINA).strftime(_FORM)


class Refused(Exception):
    """An error_response."""

    def __init__(self, code: int, sub_code: str = "", sub_msg: str = "", msg: str = "Refused") -> None:
        super().__init__(msg)
        told = {"code": code, "msg": msg, "sub_code": sub_code, "sub_msg": sub_msg, "request_id": "r1"}
        self.told = {name: value for name, value in told.items() if value != ""}


@dataclass
class Top:
    """A gateway with one shop. `before` may refuse or change things at each call; `calls` counts by method."""

    members: list[Row] = field(default_factory=list)
    trades: list[Row] = field(default_factory=list)
    refunds: list[Row] = field(default_factory=list)
    groups: list[Row] = field(default_factory=list)
    grades: list[Row] = field(default_factory=list)
    messages: list[Row] = field(default_factory=list)
    joined: dict[str, str] = field(default_factory=dict)
    now: datetime = NOW
    session: str = SESSION
    refresh: str = "refresh-1"
    trade_api: str = "simple"
    most: int = 100_000
    permitted: str = ""
    confirmed: list[str] = field(default_factory=list)
    given: dict[str, str] = field(default_factory=dict)
    texts: list[Row] = field(default_factory=list)
    busy_polls: int = 0
    # The page of members that comes whatever page is asked for; 0 for none.
    stuck: int = 0
    slept: list[float] = field(default_factory=list)
    calls: Counter[str] = field(default_factory=Counter)
    asked: list[Params] = field(default_factory=list)
    before: Callable[[str, Params], None] = lambda _method, _params: None
    after: Callable[[str], None] = lambda _method: None

    def clock(self) -> float:
        return self.now.timestamp()

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)

    def install(self, mock: responses.RequestsMock) -> None:
        mock.add_callback(responses.POST, URL, self._answer)
        mock.add_callback(responses.POST, f"{OAUTH}/token", self._token)

    # The protocol.

    def _answer(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        body = request.body.decode() if isinstance(request.body, bytes) else str(request.body)
        return 200, {"Content-Type": "application/json"}, self.answered(body)

    def answered(self, body: str) -> str:
        """The JSON for a form."""
        params = dict(parse_qsl(body, keep_blank_values=True))
        method = params.get("method", "")
        self.calls[method] += 1
        self.asked.append(params)
        try:
            self._admit(params)
            self.before(method, params)
            handler = getattr(self, f"_{method.replace('.', '_')}", None)
            if handler is None:
                raise Refused(22, msg="Invalid Method")
            told = {
                f"{method.removeprefix('taobao.').replace('.', '_')}_response": {**handler(params), "request_id": "r1"}
            }
            self.after(method)
        except Refused as refused:
            told = {"error_response": refused.told}
        return json.dumps(told, ensure_ascii=False)

    def _admit(self, params: Params) -> None:
        if params.get("app_key") != KEY:
            raise Refused(29, "isv.appkey-not-exists", msg="Invalid app Key")
        given = params.pop("sign", "")
        if given != sign(params, SECRET, params.get("sign_method", "md5")):
            raise Refused(25, msg="Invalid signature")
        dated = datetime.strptime(params["timestamp"], _FORM).replace(tzinfo=CHINA)
        if abs(dated - self.now) > timedelta(minutes=10):
            raise Refused(31, msg="Invalid timestamp")
        if params.get("format") != "json" or params.get("v") != "2.0":
            raise Refused(34, msg="Unsupported version")
        if "session" in params and params["session"] != self.session:
            raise Refused(27, "invalid-sessionkey", msg="Invalid session")
        open_to_all = ("taobao.top.auth", "taobao.tmc.messages")
        if "session" not in params and not params["method"].startswith(open_to_all):
            raise Refused(26, msg="Missing session")
        if any(value == "" for value in params.values()):
            raise Refused(41, "isv.invalid-parameter", "empty")

    def _token(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        body = request.body.decode() if isinstance(request.body, bytes) else str(request.body)
        form = dict(parse_qsl(body))
        if form.get("client_secret") != SECRET or form.get("code") != "code-1":
            return 400, {}, json.dumps({"error": "invalid_grant", "error_description": "authorize code expire"})
        return 200, {}, json.dumps(self.grant())

    def grant(self) -> Row:
        """A new session; the write levels end first."""
        return {
            "access_token": self.session,
            "token_type": "Bearer",
            "expires_in": 31536000,
            "refresh_token": self.refresh,
            "re_expires_in": 31536000,
            "r1_expires_in": "31536000",
            "r2_expires_in": 259200,
            "w1_expires_in": 86400,
            "w2_expires_in": 0,
            "taobao_user_id": VALUES["user_id"],
            "taobao_user_nick": "%E7%81%AF%E7%AC%BC%E5%B0%8F%E9%93%BA",
        }

    def _taobao_top_auth_token_refresh(self, params: Params) -> Row:
        if params["refresh_token"] != self.refresh:
            raise Refused(15, "isv.refresh-token-invalid")
        self.session, self.refresh = f"{self.session}+", f"{self.refresh}+"
        return {"token_result": json.dumps(self.grant())}

    # Members.

    def _taobao_crm_members_search(self, params: Params) -> Row:
        found = self.members
        if "min_last_trade_time" in params or "max_last_trade_time" in params:
            low, high = params.get("min_last_trade_time", ""), params.get("max_last_trade_time", "9")
            found = [row for row in found if row.get("last_trade_time") and low <= row["last_trade_time"] <= high]
        for name in ("relation_source", "grade"):
            if name in params:
                found = [row for row in found if str(row.get(name)) == params[name]]
        if "open_uid" in params:
            found = [row for row in found if row["ouid"] == self.joined.get(params["open_uid"])]
        page, size = self.stuck or int(params["current_page"]), int(params.get("page_size", 20))
        if not 1 <= size <= 100 or not 1 <= page <= self.most // 100:
            raise Refused(41, "isv.invalid-parameter", "page")
        return _wrapped("members", "crm_member", _page(found, page, size)) | {"total_result": len(found)}

    def _taobao_crm_members_search_privy(self, params: Params) -> Row:
        found = [row for row in self.members if row["ouid"] == params["ouid"]]
        return _wrapped("members", "crm_member", found) | {"total_result": str(len(found))}

    def _taobao_crm_members_increment_get(self, params: Params) -> Row:
        low, high = params["start_modify"], params["end_modify"]
        found = [row for row in self.members if low <= row["_modified"] <= high]
        rows = _page(found, int(params["current_page"]), int(params["page_size"]))
        return _wrapped("members", "basic_member", rows) | {"total_result": len(found)}

    def _taobao_crm_memberinfo_update_privy(self, params: Params) -> Row:
        if "ouid" not in params:
            raise Refused(40, "isv.missing-parameter:ouid", msg="Missing Required Arguments")
        for row in self.members:
            if row["ouid"] == params["ouid"]:
                row["grade"], row["status"] = int(params["grade"]), params["status"]
                row["_modified"] = at(self.now)
        return {"is_success": True}

    def _taobao_crm_grade_get(self, _params: Params) -> Row:
        return _wrapped("grade_promotions", "grade_promotion", self.grades)

    def _taobao_crm_grade_set(self, params: Params) -> Row:
        numbers = [int(one) for one in params["grade"].split(",")]
        discounts = [int(one) for one in params["discount"].split(",")]
        used = [one == "true" for one in params["hierarchy"].split(",")]
        (kind,) = {"amount", "count"} & params.keys()
        least = [int(one) for one in params[kind].split(",")]
        lists_agree = len(numbers) == len(discounts) == len(least) == used.count(True)
        if numbers != list(range(1, len(numbers) + 1)) or used != sorted(used, reverse=True) or not lists_agree:
            raise Refused(41, "isv.invalid-parameter", "grade")
        if any(one < 700 for one in discounts) or sorted(set(discounts), reverse=True) != discounts:
            raise Refused(41, "isv.invalid-parameter", "discount")
        if sorted(set(least)) != least:
            raise Refused(41, "isv.invalid-parameter", kind)
        self.grades = [
            {
                "cur_grade": str(number),
                "cur_grade_name": ("非会员", "普通会员", "高级会员", "VIP会员", "至尊VIP")[number],
                f"next_upgrade_{kind}": least[number] if number < len(least) else 0,
                "discount": discounts[number - 1] if number else 1000,
            }
            for number in (0, *numbers)
        ]
        return {"is_success": True}

    # Groups.

    def _taobao_crm_groups_get(self, params: Params) -> Row:
        rows = _page(self.groups, int(params["current_page"]), int(params["page_size"]))
        return _wrapped("groups", "group", rows)

    def _taobao_crm_group_add(self, params: Params) -> Row:
        number = 9000 + len(self.groups)
        self.groups.append({"group_id": number, "group_name": params["group_name"], "member_count": 0})
        return {"is_success": True, "group_id": number}

    def _taobao_crm_grouptask_check(self, _params: Params) -> Row:
        self.busy_polls -= 1
        return {"is_finished": self.busy_polls < 0}

    def _taobao_crm_members_group_batchadd_privy(self, params: Params) -> Row:
        return self._regroup(params, lambda held, told: held | told)

    def _taobao_crm_members_groups_batchdelete_privy(self, params: Params) -> Row:
        return self._regroup(params, lambda held, told: held - told)

    def _regroup(self, params: Params, change: Callable[[set[str], set[str]], set[str]]) -> Row:
        known = False
        for row in self.members:
            if row["ouid"] in params["ouids"].split(","):
                known = True
                held = set(filter(None, str(row.get("group_ids", "")).split("|")))
                row["group_ids"] = "|".join(sorted(change(held, set(params["group_ids"].split(",")))))
                row["_modified"] = at(self.now)
        return {"is_success": known}

    # Trades and refunds.

    def _taobao_trades_simple_sold_get(self, params: Params) -> Row:
        return self._sold(params, "created", "simple")

    def _taobao_trades_sold_get(self, params: Params) -> Row:
        return self._sold(params, "created", "full")

    def _taobao_trades_simple_sold_increment_get(self, params: Params) -> Row:
        return self._sold(params, "modified", "simple")

    def _taobao_trades_sold_increment_get(self, params: Params) -> Row:
        return self._sold(params, "modified", "full")

    def _sold(self, params: Params, by: str, api: str) -> Row:
        if api != self.trade_api:
            raise Refused(11, "isv.permission-api-package-limit", msg="Insufficient isv permissions")
        low, high = params[f"start_{by}"], params[f"end_{by}"]
        span = datetime.strptime(high, _FORM) - datetime.strptime(low, _FORM)
        if span > timedelta(days=1):
            raise Refused(41, "isv.invalid-parameter", "the span is longer than a day")
        if by == "created" and low < at(self.now - timedelta(days=90)):
            raise Refused(41, "isv.invalid-parameter", "older than three months")
        return self._paged(self.trades, params, by, low, high, ("trades", "trade"))

    def _taobao_refunds_receive_get(self, params: Params) -> Row:
        low, high = params["start_modified"], params["end_modified"]
        return self._paged(self.refunds, params, "modified", low, high, ("refunds", "refund"))

    def _paged(self, rows: list[Row], params: Params, by: str, low: str, high: str, names: tuple[str, str]) -> Row:
        found = sorted((row for row in rows if low <= row[by] <= high), key=lambda row: row[by], reverse=True)
        page, size = int(params["page_no"]), int(params["page_size"])
        if not 1 <= size <= 100:
            raise Refused(41, "isv.invalid-parameter", "page_size")
        # What is not asked for by name is not told.
        fields = params["fields"].split(",")
        told = [{name: row[name] for name in fields if name in row} for row in _page(found, page, size)]
        counted = (
            {"has_next": page * size < len(found)}
            if params["use_has_next"] == "true"
            else {"total_results": len(found)}
        )
        return _wrapped(*names, told) | counted

    def _taobao_trade_simple_get(self, params: Params) -> Row:
        found = [row for row in self.trades if str(row["tid"]) == params["tid"]]
        if not found:
            raise Refused(15, "isv.trade-not-exist", "no such trade")
        return {"trade": {name: value for name, value in found[0].items() if name in params["fields"].split(",")}}

    def _taobao_refund_get(self, params: Params) -> Row:
        found = [row for row in self.refunds if str(row["refund_id"]) == params["refund_id"]]
        if not found:
            raise Refused(15, "isv.refund-not-exist", "no such refund")
        return {"refund": found[0]}

    # Messages.

    def _taobao_tmc_user_permit(self, params: Params) -> Row:
        self.permitted = params["topics"]
        return {"is_success": True}

    def _taobao_tmc_user_cancel(self, params: Params) -> Row:
        self.permitted = ""
        return {"is_success": params["nick"] == VALUES["seller_nick"]}

    def _taobao_tmc_messages_consume(self, params: Params) -> Row:
        quantity = int(params["quantity"])
        if not 10 <= quantity <= 200:
            raise Refused(41, "isv.invalid-parameter", "quantity")
        waiting = [row for row in self.messages if str(row["id"]) not in self.confirmed]
        return _wrapped("messages", "tmc_message", waiting[:quantity])

    def _taobao_tmc_messages_confirm(self, params: Params) -> Row:
        ids = params["s_message_ids"].split(",")
        if len(ids) > 200:
            raise Refused(41, "isv.invalid-parameter", "s_message_ids")
        self.confirmed += ids
        return {"is_success": True}

    # Coupons and texts.

    def _taobao_promotion_coupon_add(self, params: Params) -> Row:
        if params["denominations"] not in ("3", "5", "10", "20", "50", "100"):
            raise Refused(41, "isv.invalid-parameter", "denominations")
        return {"coupon_id": 501}

    def _taobao_promotion_coupon_send(self, params: Params) -> Row:
        wanted = [row["ouid"] for row in json.loads(params["ouid_data"])]
        known = {row["ouid"] for row in self.members}
        results = [
            {"ouid": ouid, "buyer_nick": "t**b", "coupon_number": 7000 + n}
            for n, ouid in enumerate(wanted)
            if ouid in known
        ]
        failed = [
            {"ouid": ouid, "buyer_nick": "t**b", "reason": "not a member"} for ouid in wanted if ouid not in known
        ]
        told = _wrapped("coupon_results", "coupon_result", results) | _wrapped(
            "failure_buyers", "error_message", failed
        )
        return {"is_success": True, **told}

    def _taobao_promotion_benefit_activity_send(self, params: Params) -> Row:
        request = json.loads(params["send_request"])
        self.given[request["unique_id"]] = params["ouid"]
        return {"is_success": True, "unique_id": request["unique_id"]}

    def _taobao_opencrm_digital_sms_single_send(self, params: Params) -> Row:
        self.texts.append(json.loads(params["task_content"]))
        return {"result": {"success": True, "node_inst_id": 8800 + len(self.texts)}}

    def _taobao_opencrm_sms_qresult(self, params: Params) -> Row:
        wanted = params["targets"].split(",")
        mine = [one for one in self.texts if one["out_node_inst_id"] == params["node_inst_id"]]
        rows = [{"target": who, "status": "SUCCESS"} for one in mine for who in one["deliver_targets"] if who in wanted]
        return _wrapped("results", "result", rows)


def _wrapped(wrapper: str, element: str, rows: Iterable[Row]) -> Row:
    """A list as TOP tells it; an empty one is left out."""
    told = [{name: value for name, value in row.items() if not name.startswith("_")} for row in rows]
    return {wrapper: {element: told}} if told else {}


def _page(rows: list[Row], page: int, size: int) -> list[Row]:
    return rows[(page - 1) * size : page * size]


def member(number: int, **more: Any) -> Row:
    traded = at(NOW - timedelta(days=number))
    told = {
        "ouid": f"AAE{number:05d}",
        "buyer_nick": "t**b",
        "grade": 0,
        "grade_name": "",
        "status": "normal",
        "trade_count": str(number),
        "trade_amount": f"{number}.50",
        "last_trade_time": traded,
        "relation_source": 1,
        "_modified": at(NOW - timedelta(days=200)),
    }
    return {**told, **more}


def trade(number: int, when: datetime, **more: Any) -> Row:
    # Longer than a float holds.
    tid = 3_700_000_000_000_000_000 + number
    line = {
        "oid": tid,
        "num_iid": 42,
        "outer_sku_id": "TEA-1",
        "title": "龙井",
        "num": 2,
        "payment": "99.90",
        "divide_order_fee": "89.90",
    }
    told = {
        "tid": tid,
        "tid_str": str(tid),
        "status": "WAIT_SELLER_SEND_GOODS",
        "created": at(when),
        "modified": at(when),
        "pay_time": at(when),
        "payment": "99.90",
        "total_fee": "109.90",
        "post_fee": "10.00",
        "discount_fee": "0.00",
        "ouid": f"AAE{number % 7:05d}",
        "buyer_open_uid": f"OPEN{number % 7}",
        "receiver_mobile": "13800138000",
        "buyer_email": "a@x.test",
        "orders": {"order": [line]},
    }
    return {**told, **more}


def refund(number: int, when: datetime, **more: Any) -> Row:
    told = {
        "refund_id": 5000 + number,
        "tid": 3_700_000_000_000_000_000 + number,
        "refund_fee": "12.30",
        "status": "SUCCESS",
        "created": at(when),
        "modified": at(when),
        "refund_phase": "aftersale",
        "ouid": f"AAE{number:05d}",
    }
    return {**told, **more}
