"""Birthday, consent and language out of what plugins keep under keys of their own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from crm_plugin.adapters.storefronts.woocommerce.meta import MetaKeys, Told
from crm_plugin.adapters.storefronts.woocommerce.payloads import Meta
from crm_plugin.records import ConsentState


def _told(*entries: tuple[str, Any], keys: MetaKeys | None = None) -> Told:
    return (keys or MetaKeys()).read_meta(
        [Meta(key, msgspec.Raw(msgspec.json.encode(value))) for key, value in entries]
    )


@pytest.mark.parametrize(
    ("value", "birthday"),
    [
        ("1984-02-29", (1984, 2, 29)),
        ("19840229", (1984, 2, 29)),
        (19840229, (1984, 2, 29)),
        ("1984/02/29 00:00:00", (1984, 2, 29)),
        ("02-29", (None, 2, 29)),
        ("--6-5", (None, 6, 5)),
        ("29.02.1984", (1984, 2, 29)),
        ("25/06/1985", (1985, 6, 25)),
        ("06/25/1985", (1985, 6, 25)),
        ("05/05/1985", (1985, 5, 5)),
        ("0000-06-05", (None, 6, 5)),
        ("2999-06-05", (None, 6, 5)),
        (["1985-06-05"], (1985, 6, 5)),
        ({"year": 1985, "month": 6, "day": "5"}, (1985, 6, 5)),
        ({"year": "", "month": "6", "day": "5"}, (None, 6, 5)),
        ("05/06/1985", None),
        ("1985-02-29", None),
        ("1985-13-01", None),
        ("", None),
        ("soon", None),
        (["1985-06-05", "1985-06-06"], None),
        ({"month": "June"}, None),
        (None, None),
    ],
)
def test_birthday_is_taken_when_it_is_certain(value: Any, birthday: tuple[int | None, int, int] | None) -> None:
    assert _told(("billing_birth_date", value)).birthday == (birthday and (*birthday, False, False))


@pytest.mark.parametrize(
    ("value", "state"),
    [
        ("yes", ConsentState.GRANTED),
        ("1", ConsentState.GRANTED),
        (1, ConsentState.GRANTED),
        (True, ConsentState.GRANTED),
        ("on", ConsentState.GRANTED),
        (["yes"], ConsentState.GRANTED),
        ("no", ConsentState.WITHDRAWN),
        (0, ConsentState.WITHDRAWN),
        (False, ConsentState.WITHDRAWN),
        ("", None),
        ([], None),
        ("maybe", None),
        ({"yes": "no"}, None),
    ],
)
def test_consent_is_taken_when_it_is_said(value: Any, state: ConsentState | None) -> None:
    assert _told(("marketing_opt_in", value)).consent is state


def test_earlier_key_wins_and_spelling_does_not_matter() -> None:
    told = _told(("_wc_other/acme/Marketing-Opt-In", "yes"), ("newsletter", "no"), ("dob", "1985-06-05"))
    assert (told.consent, told.consent_key) == (ConsentState.GRANTED, "_wc_other/acme/Marketing-Opt-In")
    assert told.birthday == (1985, 6, 5, False, False)


def test_merchants_own_keys_are_looked_under() -> None:
    keys = MetaKeys({"birthday_keys": "geburtstag", "consent_keys": "post erlaubt", "locale_keys": "sprache"})
    told = _told(("geburtstag", "05.06.1985"), ("sprache", "de_DE_formal"), ("dob", "1990-01-01"), keys=keys)
    assert (told.birthday, told.locale) == ((1985, 6, 5, False, False), "de-DE")


@pytest.mark.parametrize(
    ("value", "birthday"),
    [
        ("lunar:08-15", (None, 8, 15, True, False)),
        ("Lunar: 1985-08-15", (1985, 8, 15, True, False)),
        ("lunar:leap-04-12", (None, 4, 12, True, True)),
        ("lunar:2020-leap-04-12", (2020, 4, 12, True, True)),
        ("农历八月十五", (None, 8, 15, True, False)),
        ("农历1985年腊月廿三", (1985, 12, 23, True, False)),
        ("農曆一九八五年正月初一日", (1985, 1, 1, True, False)),
        ("阴历：闰四月初十", (None, 4, 10, True, True)),
        ("农历 十一月三十", (None, 11, 30, True, False)),
        ("农历12月8日", (None, 12, 8, True, False)),
        ("lunar:2099-08-15", (None, 8, 15, True, False)),
        # There was no leap fourth month in 1985; no month has 31 days; 初三十 is no day.
        ("lunar:1985-leap-04-12", None),
        ("lunar:08-31", None),
        ("lunar:13-01", None),
        ("lunar:08-00", None),
        ("农历八月初三十", None),
        ("农历八月", None),
        ("lunar:", None),
    ],
)
def test_lunar_birthday_is_taken_when_it_is_certain(
    value: str, birthday: tuple[int | None, int, int, bool, bool] | None
) -> None:
    assert _told(("birthday", value)).birthday == birthday
    assert _told(("_lunar_birthday", value)).birthday == birthday


def test_lunar_birthday_under_a_key_of_its_own_needs_no_word() -> None:
    assert _told(("lunar_birthday", "08-15"), ("birthday", "1985-09-29")).birthday == (None, 8, 15, True, False)
    assert _told(("lunar_birthday", ""), ("birthday", "1985-09-29")).birthday == (1985, 9, 29, False, False)
    told = _told(("lunar_birthday", "mid-autumn"))
    assert (told.birthday, told.unread) == (None, "mid-autumn")
    keys = MetaKeys({"lunar_birthday_keys": "nongli"})
    assert _told(("nongli", "leap-06-01"), keys=keys).birthday == (None, 6, 1, True, True)


def test_unread_birthday_is_kept_as_written() -> None:
    assert _told(("birthday", "05/06/1985")).unread == "05/06/1985"
    assert _told(("birthday", "05/06/1985"), ("dob", "1985-06-05")).unread == ""


@pytest.mark.parametrize(
    ("value", "locale"),
    [("zh_CN", "zh-CN"), ("en", "en"), ("ZH-hans_cn", "zh-Hans-CN"), ("English", ""), ("", ""), (["de_DE"], "de-DE")],
)
def test_locale_becomes_a_tag(value: Any, locale: str) -> None:
    assert _told(("locale", value)).locale == locale


_UPS = {
    "tracking_provider": "ups",
    "custom_tracking_provider": "",
    "custom_tracking_link": "",
    "date_shipped": "1603929600",
}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ([{**_UPS, "tracking_number": " 1Z9 "}], {"tracking_number": "1Z9", "tracking_carrier": "ups"}),
        (
            [
                {**_UPS, "tracking_number": "1Z8"},
                {
                    "tracking_number": 77,
                    "custom_tracking_provider": "Lantern Post",
                    "custom_tracking_link": "https://post.example/77",
                },
            ],
            {
                "tracking_number": "77",
                "tracking_carrier": "Lantern Post",
                "tracking_url": "https://post.example/77",
            },
        ),
        ({"1": {"tracking_number": "A", "custom_tracking_link": "javascript:alert(1)"}}, {"tracking_number": "A"}),
        ([_UPS, "x", None], {}),
        ([{"tracking_number": True}], {}),
        ("a:1:{}", {}),
        (None, {}),
    ],
)
def test_parcel_of_the_last_shipment_with_a_number(value: Any, told: dict[str, str]) -> None:
    assert _told(("_wc_shipment_tracking_items", value)).shipment == told
    assert _told(("_wc_shipment_tracking_items", value), ("locale", "de_DE")).shipment == told


def test_consent_in_the_stores_own_words_and_to_texts() -> None:
    words = {"consent": {"yes": ["Ja, gerne"], "no": ["Nein"]}}
    keys = MetaKeys({"consent_keys": "werbung", "sms_consent_keys": "sms_ok", "consent_words": words})
    for value, state in (("ja, gerne", ConsentState.GRANTED), ("nein", ConsentState.WITHDRAWN), ("yes", None)):
        assert _told(("werbung", value), keys=keys).consent is state
    told = _told(("sms_ok", "on"), keys=keys)
    assert (told.consent, told.sms, told.sms_key) == (None, ConsentState.GRANTED, "sms_ok")


def test_no_key_at_all_can_be_told() -> None:
    keys = MetaKeys({"consent_keys": "-", "birthday_keys": "-"})
    assert _told(("newsletter", "yes"), ("dob", "1985-06-05"), ("-", "yes"), keys=keys) == Told()


def test_order_of_day_and_month_is_told() -> None:
    assert _told(("dob", "05/06/1985"), keys=MetaKeys({"birthday_order": "month first"})).birthday == (
        1985,
        5,
        6,
        False,
        False,
    )


@pytest.mark.parametrize(
    ("value", "cost"), [("4.20", 420), (4.2, 420), ("0", 0), ("4,20", None), ("-1", None), ("", None), (True, None)]
)
def test_cost_is_an_amount(value: Any, cost: int | None) -> None:
    keys = MetaKeys({"cost_keys": "_wc_cog_cost, other"})
    assert keys.cost([("other", "9.99")], "EUR") == 999
    assert keys.cost([("_wc_cog_cost", value)], "EUR") == cost
