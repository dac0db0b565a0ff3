"""Birthday, consent and language out of what plugins keep under keys of their own."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from crm_plugin.adapters.storefronts.woocommerce.meta import MetaKeys, Told
from crm_plugin.adapters.storefronts.woocommerce.payloads import Meta
from crm_plugin.records import ConsentState


def _told(*entries: tuple[str, Any], keys: MetaKeys | None = None) -> Told:
    return (keys or MetaKeys()).read([Meta(key, msgspec.Raw(msgspec.json.encode(value))) for key, value in entries])


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
    assert _told(("billing_birth_date", value)).birthday == birthday


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
    assert told.birthday == (1985, 6, 5)


def test_merchants_own_keys_are_looked_under() -> None:
    keys = MetaKeys(birthday="geburtstag", consent="post erlaubt", locale="sprache")
    told = _told(("geburtstag", "05.06.1985"), ("sprache", "de_DE_formal"), ("dob", "1990-01-01"), keys=keys)
    assert (told.birthday, told.locale) == ((1985, 6, 5), "de-DE")


def test_unread_birthday_is_kept_as_written() -> None:
    assert _told(("birthday", "05/06/1985")).unread == "05/06/1985"
    assert _told(("birthday", "05/06/1985"), ("dob", "1985-06-05")).unread == ""


@pytest.mark.parametrize(
    ("value", "locale"),
    [("zh_CN", "zh-CN"), ("en", "en"), ("ZH-hans_cn", "zh-Hans-CN"), ("English", ""), ("", ""), (["de_DE"], "de-DE")],
)
def test_locale_becomes_a_tag(value: Any, locale: str) -> None:
    assert _told(("locale", value)).locale == locale
