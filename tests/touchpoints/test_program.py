"""The programme file: loaded whole or not at all, given back as it was, and gentle with what runs."""

from __future__ import annotations

import itertools
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from crm_plugin.errors import CrmError, InvalidInput, UnknownField
from crm_plugin.rules import segments
from crm_plugin.rules import tiers as tier_rules
from crm_plugin.store import audit_log, journeys
from crm_plugin.store.session import Database
from crm_plugin.store.tenants import Shop, shop_by_id
from crm_plugin.touchpoints import documents
from crm_plugin.touchpoints import journeys as journey_store
from crm_plugin.touchpoints.program import dump, load
from crm_plugin.touchpoints.program_file import read_file
from crm_plugin.touchpoints.program_yaml import to_yaml
from crm_plugin.touchpoints.recipes import install, install_one, recipe_texts, recipes
from crm_plugin.touchpoints.texts import get_text, texts
from tests.factories import NOON, make_shop

FULL: dict[str, Any] = {
    "settings": {
        "title": "Lantern & Leaf",
        "locale": "zh-CN",
        "quiet_hours": {"from": "22:00", "to": "07:00"},
        "brand": {"color": "#0b5d4e", "logo_url": "https://shop.example/logo.png"},
        "address": "1 Mill Lane\nYork",
        "cta_url": "https://shop.example/sale",
        "sender_name": "Lantern",
        "rates": {"JPY": "0.0061", "USD": "0.92"},
    },
    "tiers": [
        {"key": "silver", "title": {"en": "Silver", "zh-CN": "银卡"}, "rule": "spent() >= 100"},
        {"key": "gold", "title": {"en": "Gold"}, "rule": "spent(days=365) >= 500\nand orders() >= 3"},
    ],
    "segments": [
        {"key": "best", "title": "The best", "rule": 'tier == "gold"'},
        {"key": "quiet", "title": "", "rule": "days_since_order >= 90"},
    ],
    "journeys": [
        {
            "key": "thanks",
            "title": {"en": "Thanks", "zh-CN": "感谢"},
            "trigger": {"type": "post_purchase", "days": 10},
            "audience": 'tier in ["silver", "gold"]',
            "channels": ["email", "sms"],
            "template": "thanks",
            "topic": "orders",
            "kind": "transactional",
            "send_at": "09:30",
            "validity_days": 5,
            "enabled": True,
        },
        {
            "key": "wishes",
            "title": {"en": "Wishes"},
            "trigger": {"type": "birthday", "days": -7},
            "channels": ["inapp"],
            "template": "wishes",
            "topic": "marketing",
            "kind": "marketing",
            "send_at": "10:00",
            "validity_days": 3,
            "enabled": False,
        },
    ],
    "templates": {
        "thanks": {
            "email": {
                "en": {
                    "subject": "Your order {{ order.number }}",
                    "text": "Thank you: it's here.\n\n  {{ order.total }}",
                    "html": "<p>Thank you</p>",
                },
                "zh-CN": {"subject": "谢谢", "text": "谢谢您：\n{{ member.name }} 🎁"},
            },
            "sms": {"en": {"text": "Thanks #1"}},
        },
        "wishes": {"inapp": {"en": {"subject": "Hello", "text": "no", "url": "/gifts"}}},
    },
}
NOTES: dict[str, Any] = {
    "journeys": [{"key": "notes", "trigger": {"type": "post_purchase", "days": 7}, "channels": ["note"]}],
    "templates": {"notes": {"note": {"en": {"text": "Thank you!"}}}},
}
NOTHING = {"added": 0, "changed": 0, "removed": 0}


@pytest.fixture
def shop(db: Database) -> Shop:
    with db.write() as connection:
        return make_shop(connection)


def _load(db: Database, shop: Shop, document: dict[str, Any], **more: Any) -> dict[str, Any]:
    with db.write() as connection:
        return load(connection, shop, document, NOON, **more).as_dict()


def _dump(db: Database, shop: Shop) -> dict[str, Any]:
    with db.read() as connection:
        return dump(connection, shop)


def _without(*path: str | int) -> dict[str, Any]:
    """The full document with one thing taken out."""
    document: Any = deepcopy(FULL)
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    del inner[path[-1]]
    return document  # type: ignore[no-any-return]


def _with(value: Any, *path: str | int) -> dict[str, Any]:
    """The full document with one thing put in or in place of another."""
    document: Any = deepcopy(FULL)
    inner = document
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = value
    return document  # type: ignore[no-any-return]


def test_full_file_comes_back_as_it_was(db: Database, shop: Shop, tmp_path: Path) -> None:
    report = _load(db, shop, FULL, actor="cli")
    assert report == {
        # The title and the language were there before.
        "settings": {"added": 6, "changed": 2, "removed": 0, "same": 0},
        "tiers": {"added": 2, "changed": 0, "removed": 0, "same": 0},
        "segments": {"added": 2, "changed": 0, "removed": 0, "same": 0},
        "journeys": {"added": 2, "changed": 0, "removed": 0, "same": 0},
        "templates": {"added": 4, "changed": 0, "removed": 0, "same": 0},
        "switched_on": ["thanks"],
        "switched_off": [],
        "rates_changed": True,
    }
    given_back = _dump(db, shop)
    assert given_back == FULL
    file = tmp_path / "program.yaml"
    file.write_text(to_yaml(given_back), encoding="utf-8")
    assert read_file(file) == FULL
    with db.read() as connection:
        logged = connection.execute(select(audit_log.c.actor, audit_log.c.action, audit_log.c.detail)).all()
    assert [tuple(row) for row in logged] == [("cli", "program.loaded", report)]


def test_loading_again_changes_nothing(db: Database, shop: Shop) -> None:
    _load(db, shop, FULL)
    before = _rows(db)
    report = _load(db, shop, _dump(db, shop))
    assert {section: NOTHING | report[section] for section in FULL} == {
        "settings": {**NOTHING, "same": 8},
        "tiers": {**NOTHING, "same": 2},
        "segments": {**NOTHING, "same": 2},
        "journeys": {**NOTHING, "same": 2},
        "templates": {**NOTHING, "same": 4},
    }
    assert (report["switched_on"], report["rates_changed"]) == ([], False)
    assert _rows(db) == before


def _rows(db: Database) -> list[tuple[Any, ...]]:
    with db.read() as connection:
        found: list[tuple[Any, ...]] = []
        for table in ("shops", "tier_levels", "segments", "journeys", "templates", "audit_log"):
            found += sorted(map(tuple, connection.exec_driver_sql(f"SELECT * FROM {table}").all()), key=repr)
        return found


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (_with("mistake", "settings", "brand"), "settings: The brand"),
        (_with(1, "settings", "adress"), "settings: There is no setting 'adress'"),
        (_with({"EUR": 1}, "settings", "rates"), "settings: EUR is the shop's own currency"),
        (_with([], "sections"), "There is no section 'sections'"),
        (_with(None, "tiers"), "tiers: It is a list"),
        (_with({"silver": {}}, "tiers"), "tiers: It is a list"),
        (_with(["silver"], "tiers"), "tiers, entry 1: It has no key"),
        (_with("Gold!", "tiers", 0, "key"), "tiers, Gold!: 'Gold!' cannot be the key"),
        (_with("gold", "tiers", 0, "key"), "tiers, gold: This key is there twice"),
        (_with({"en": 5}, "tiers", 0, "title"), "tiers, silver: 5 is not a text"),
        (_with({True: "x"}, "tiers", 0, "title"), "tiers, silver: True is not a language"),
        (
            _with("spend() >= 1", "tiers", 0, "rule"),
            "line 1, column 1: In the rule of tiers, silver: There is no field 'spend'",
        ),
        (
            _with('tier == "gold"', "tiers", 0, "rule"),
            "In the rule of tiers, silver: A level cannot depend on the level held",
        ),
        (_with("orders() >= 1\nand orders() > x", "tiers", 1, "rule"), "line 2, column 16: In the rule of tiers, gold"),
        (_with("x", "tiers", 0, "perks"), "tiers, silver: A level has no 'perks'"),
        (_with('tier == "glod"', "segments", 0, "rule"), "In the rule of segments, best: There is no tier 'glod'"),
        (_without("segments", 1, "rule"), "In the rule of segments, quiet: The rule is empty"),
        (_with(1, "segments", 0, "title"), "segments, best: 1 is not a text"),
        (_with(1, "segments", 0, "size"), "segments, best: A segment has no 'size'"),
        (_without("journeys", 0, "trigger"), "journeys, thanks: The journey thanks has no trigger"),
        (_with("orders( >= 1", "journeys", 0, "audience"), "In the rule of journeys, thanks: "),
        (
            _with('tier == "iron"', "journeys", 0, "audience"),
            "In the rule of journeys, thanks: There is no tier 'iron'",
        ),
        (_with("transactional", "journeys", 1, "kind"), "journeys, wishes: Only what follows a purchase"),
        (
            {**NOTES, "journeys": [{**NOTES["journeys"][0], "kind": "marketing"}]},
            "templates, notes, note, en: The note notes (en) is marketing and has no way to stop it",
        ),
        (_with("yes", "journeys", 0, "enabled"), "journeys, thanks: `enabled` is 'yes'"),
        (_with("brithday", "journeys", 0, "recipe"), "journeys, thanks: There is no recipe 'brithday'"),
        (_with("Thanks!", "journeys", 0, "template"), "journeys, thanks: 'Thanks!' cannot be"),
        (_with(["email", "inapp"], "journeys", 0, "channels"), "journeys, thanks: The journey has no text for in-app"),
        (_without("templates", "thanks", "sms"), "journeys, thanks: The journey has no text for sms"),
        (
            _with({**FULL["journeys"][0], "trigger": {"type": "lapse", "days": 9}, "kind": "marketing"}, "journeys", 0),
            "templates, thanks, email, en: thanks (email, en, subject), line 1: `order.number` has nothing to show",
        ),
        (_with({"en": {"text": "x"}}, "templates", "thanks", "fax"), "templates, thanks, fax, en: There is no channel"),
        (_with({"en": {"body": "x"}}, "templates", "thanks", "sms"), "templates, thanks, sms, en: There is no 'body'"),
        (_with({"en": {"html": "x"}}, "templates", "thanks", "sms"), "templates, thanks, sms, en: There is no 'html'"),
        (_with({"en": {"text": 5}}, "templates", "thanks", "sms"), "templates, thanks, sms, en: 5 is not a text"),
        (_with({"en": "Thanks"}, "templates", "thanks", "sms"), "templates, thanks, sms, en: There is no text"),
        (_with("Thanks", "templates", "thanks", "sms"), "templates, thanks, sms: Texts are written by"),
        (
            _with({"zh-CN": {"text": "a"}, "ZH_cn": {"text": "b"}}, "templates", "thanks", "sms"),
            "templates, thanks, sms, ZH_cn: This language is written twice",
        ),
        (
            _with({"en": {"text": "one\n{{ membr }}"}}, "templates", "thanks", "sms"),
            "templates, thanks, sms, en: thanks (sms, en, body_text), line 2: there is no `membr`; did you mean `member`?",
        ),
    ],
)
def test_mistake_names_its_place_and_nothing_is_written(
    sqlite_db: Database, document: dict[str, Any], words: str
) -> None:
    with sqlite_db.write() as connection:
        shop = make_shop(connection)
    before = _rows(sqlite_db)
    # Also inside a transaction that its caller keeps: nothing may have been written before the mistake was found.
    with sqlite_db.write() as connection, pytest.raises(CrmError) as caught:
        load(connection, shop, document, NOON)
    assert words in str(caught.value)
    assert _rows(sqlite_db) == before


def test_mistakes_carry_line_column_and_field(sqlite_db: Database) -> None:
    with sqlite_db.write() as connection:
        shop = make_shop(connection)
    with pytest.raises(UnknownField) as rule:
        _load(sqlite_db, shop, _with("orders() >= 1 and\nspend() > 2", "segments", 0, "rule"))
    assert (rule.value.line, rule.value.column, rule.value.hint) == (2, 1, "Did you mean spent?")
    with pytest.raises(InvalidInput) as text:
        _load(sqlite_db, shop, _with("one\ntwo {{ membr }}", "templates", "thanks", "sms", "en", "text"))
    assert (text.value.field, text.value.line) == ("templates.thanks.sms.en.body_text", 2)
    with pytest.raises(InvalidInput) as number:
        _load(sqlite_db, shop, _with(90, "journeys", 0, "validity_days"))
    assert number.value.field == "journeys.thanks.validity_days"


def test_only_what_is_named_is_touched(db: Database, shop: Shop) -> None:
    _load(db, shop, FULL)
    another = {"wishes": {"inapp": {"zh-CN": {"text": "您好"}}}}
    report = _load(db, shop, {"settings": {"sender_name": "Leaf"}, "templates": another})
    assert set(report) == {"settings", "templates", "switched_on", "switched_off", "rates_changed"}
    expected = _with("Leaf", "settings", "sender_name")
    expected["templates"]["wishes"]["inapp"]["zh-CN"] = {"text": "您好"}
    assert _dump(db, shop) == expected


def test_kept_birthday_asks_for_consent_whatever_its_row_says(db: Database, shop: Shop) -> None:
    _load(db, shop, FULL)
    with db.write() as connection:
        connection.execute(journeys.update().values(kind="transactional"))
    with db.read() as connection:
        kinds = {one.key: one.kind for one in journey_store.all_journeys(connection, 1)}
    assert kinds == {"thanks": "transactional", "wishes": "marketing"}


def test_running_journey_ends_only_when_told(db: Database, shop: Shop) -> None:
    _load(db, shop, FULL)
    report = _load(db, shop, {"journeys": [{**FULL["journeys"][1], "enabled": True}], "segments": []})
    assert report["journeys"] == {**NOTHING, "changed": 1, "same": 0}
    assert report["segments"] == {**NOTHING, "removed": 2, "same": 0}
    assert (report["switched_on"], report["switched_off"]) == (["wishes"], [])
    told = {**FULL["journeys"][0], "enabled": False}
    assert _load(db, shop, {"journeys": [told]})["switched_off"] == ["thanks"]
    del told["enabled"]
    assert _load(db, shop, {"journeys": [told]})["journeys"]["same"] == 1
    with db.read() as connection:
        found = {one.key: one.enabled for one in journey_store.all_journeys(connection, 1)}
    assert found == {"thanks": False, "wishes": True}


def test_level_still_asked_for_cannot_go(db: Database, shop: Shop) -> None:
    _load(db, shop, FULL)
    before = _rows(db)
    for sections in (("tiers",), ("tiers", "segments")):
        document: dict[str, Any] = {"tiers": FULL["tiers"][:1], "segments": []}
        with pytest.raises(InvalidInput, match="segment best" if sections == ("tiers",) else "journey thanks"):
            _load(db, shop, {name: document[name] for name in sections})
    assert _rows(db) == before
    document["journeys"] = [{**FULL["journeys"][0], "audience": ""}]
    assert _load(db, shop, document)["tiers"] == {"added": 0, "changed": 0, "removed": 1, "same": 1}
    # And the other way: a level and who asks for it come together.
    assert _load(db, shop, FULL)["tiers"]["added"] == 1


def test_tiers_that_change_places_have_changed(sqlite_db: Database) -> None:
    with sqlite_db.write() as connection:
        shop = make_shop(connection)
    _load(sqlite_db, shop, {"tiers": FULL["tiers"]})
    extra = {"key": "bronze", "title": {}, "rule": "orders() >= 1"}
    report = _load(sqlite_db, shop, {"tiers": [extra, *FULL["tiers"]]})
    assert report["tiers"] == {"added": 1, "changed": 0, "removed": 0, "same": 2}
    report = _load(sqlite_db, shop, {"tiers": [extra, *reversed(FULL["tiers"])]})
    assert report["tiers"] == {"added": 0, "changed": 2, "removed": 0, "same": 1}
    with sqlite_db.read() as connection:
        assert [level.key for level in tier_rules.levels(connection, 1)] == ["bronze", "gold", "silver"]


def test_recipe_fills_in_what_is_not_said(db: Database, shop: Shop) -> None:
    own = {"birthday": {"email": {"en": {"subject": "Hey", "text": "Hey you"}}}}
    told = {"key": "greeting", "recipe": "birthday", "channels": ["email", "inapp"], "enabled": True}
    report = _load(db, shop, {"journeys": [told], "templates": own})
    with db.read() as connection:
        journey = journey_store.get(connection, 1, "greeting")
        assert (journey.trigger.days, journey.channels, journey.enabled) == (0, ("email", "inapp"), True)
        assert journey.title == {"en": "Birthday", "zh-CN": "生日祝福"}
        first = get_text(connection, 1, "birthday", "email", "en")
        assert first is not None
        assert (first.subject, first.version) == ("Hey", 1)
        assert len(texts(connection, 1)) == len(recipe_texts("birthday")) == report["templates"]["added"]
    report = _load(db, shop, {"journeys": [told]})
    assert report["journeys"] == {**NOTHING, "same": 1}
    assert report["templates"] == {**NOTHING, "same": len(recipe_texts("birthday"))}


def test_installed_recipes_go_round(db: Database, shop: Shop, tmp_path: Path) -> None:
    with db.write() as connection:
        install(connection, shop, NOON)
        # A text that its journey could no longer render is the merchant's to mend; it must not stop a file that repeats it.
        connection.execute(
            journeys.update()
            .where(journeys.c.journey_key == "post_purchase")
            .values(trigger="lapse", channels=["email"])
        )
    file = tmp_path / "program.yaml"
    file.write_text(to_yaml(_dump(db, shop)), encoding="utf-8")
    document = read_file(file)
    assert document == _dump(db, shop)
    before = _rows(db)
    _load(db, shop, document)
    assert _rows(db) == before


@pytest.mark.slow
def test_every_recipe_goes_round(db: Database, shop: Shop, tmp_path: Path) -> None:
    with db.write() as connection:
        for one in recipes():
            install_one(connection, shop, one.key, NOON)
    file = tmp_path / "program.yaml"
    file.write_text(to_yaml(_dump(db, shop)), encoding="utf-8")
    document = read_file(file)
    before = _rows(db)
    _load(db, shop, document)
    assert _rows(db) == before


def test_recipe_of_several_messages_brings_them_all(db: Database, shop: Shop) -> None:
    told = {"key": "club", "recipe": "birthday_club", "enabled": True}
    _load(db, shop, {"journeys": [told]})
    with db.read() as connection:
        assert sorted({text.template_key for text in texts(connection, 1)}) == [
            "birthday_club-before",
            "birthday_club-day",
        ]


def test_shops_do_not_touch_each_other(db: Database, shop: Shop) -> None:
    with db.write() as connection:
        other = make_shop(connection, 2)
    _load(db, other, FULL)
    assert _dump(db, shop) == {
        "settings": {"title": "Shop 1", "locale": "en"},
        "tiers": [],
        "segments": [],
        "journeys": [],
        "templates": {},
    }
    _load(db, shop, {"segments": [], "tiers": []})
    assert _dump(db, other) == FULL


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xfe", "not UTF-8"),
        (b"", "holds no programme"),
        (b"- a\n", "holds no programme"),
        (b"tiers: [\n", "line 2"),
        (b"tiers: []\ntiers: []\n", "line 2, column 1: 'tiers' is written twice"),
        (b"a: &x [1]\nb: *x\n", "line 2, column 4: *name is not read here"),
        (b"journey: []\n", "Did you mean journeys?"),
        (b"tiers: !!python/name:os.system\n", "line 1, column 8"),
        (b"tiers: [" * 200, "cannot be read"),
        (b"a: \x00\n", "cannot be read"),
    ],
)
def test_unreadable_files_say_why(tmp_path: Path, content: bytes, words: str) -> None:
    file = tmp_path / "program.yaml"
    file.write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        read_file(file)
    assert words in str(caught.value)


def test_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="No such file"):
        read_file(tmp_path / "program.yaml")


def test_words_stay_words(tmp_path: Path) -> None:
    """What YAML 1.1 would make numbers, truths and dates of."""
    file = tmp_path / "program.yaml"
    file.write_text("settings: {quiet_hours: {from: 21:00, to: 08:00}, sender_name: no, rates: {USD: 1e0}}\n")
    assert read_file(file) == {
        "settings": {"quiet_hours": {"from": "21:00", "to": "08:00"}, "sender_name": "no", "rates": {"USD": "1e0"}}
    }


_TEXT = st.text(
    st.one_of(
        st.sampled_from(" \n\t:#'\"-|>&*!%@`?[]{},\\~\x85\u2028\u2029\ufeff"),
        st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]),
    ),
    max_size=30,
)
_PLAIN = st.one_of(_TEXT, st.booleans(), st.none(), st.integers(-(10**9), 10**9))


def _nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3)


@pytest.mark.slow
@given(st.recursive(_PLAIN, _nested, max_leaves=12))
def test_yaml_gives_back_what_it_was_given(document: Any) -> None:
    assert documents.read(documents.write(document), "x") == document


_KEYS = st.sampled_from(["a", "b-1", "c_2", "d"])
_WORDS = st.text(st.sampled_from("ab 汉字'\":#-\n🎁"), max_size=12)
_LINE = st.text(st.sampled_from("ab 汉字'\":#-🎁"), min_size=1, max_size=12).map(str.strip).filter(bool)
_BODY = _WORDS.map(lambda text: f"x{text.rstrip()}") | st.just("{{ member.name }}\n{% if days %}…{% endif %}")
_RULES = st.sampled_from(["everyone", "orders() >= 2", 'tag("vip")\nor spent() > 1.5', 'country in ["GB", "IE"]'])
_TITLES = st.dictionaries(st.sampled_from(["en", "zh-CN"]), _LINE, max_size=2)
_TRIGGERS = st.sampled_from([("birthday", -3), ("birthday", 0), ("lapse", 90), ("post_purchase", 7)])


@st.composite
def _programs(draw: st.DrawFn) -> dict[str, Any]:
    """A full programme as `dump` writes one."""
    written: dict[str, Any] = {}
    for key in sorted(draw(st.sets(_KEYS, min_size=1))):
        bodies = {"en": draw(_BODY), "zh-CN": draw(_BODY)}
        written[key] = {"sms": {locale: {"text": body} for locale, body in bodies.items()}}
        if draw(st.booleans()):
            written[key]["email"] = {"en": {"subject": draw(_LINE), "text": draw(_BODY), "html": f"<p>{draw(_BODY)}"}}
    told = []
    for key in sorted(draw(st.sets(_KEYS))):
        kind, days = draw(_TRIGGERS)
        template = draw(st.sampled_from(sorted(written)))
        journey = {
            "key": key,
            "title": draw(_TITLES) or {"en": key},
            "trigger": {"type": kind, "days": days},
            "channels": draw(st.permutations(sorted(written[template]))),
            "template": template,
            "topic": draw(_KEYS),
            "kind": draw(st.sampled_from(["marketing", "transactional"])) if kind == "post_purchase" else "marketing",
            "send_at": draw(st.sampled_from(["00:00", "09:05", "23:59"])),
            "validity_days": draw(st.integers(1, 60)),
            "enabled": draw(st.booleans()),
        }
        audience = draw(st.none() | _RULES)
        told.append({**journey, "audience": audience} if audience else journey)
    # Each level has a name of its own.
    levels = [
        {"key": key, "title": {lang: f"{name} {key}" for lang, name in draw(_TITLES).items()}, "rule": draw(_RULES)}
        for key in draw(st.lists(_KEYS, unique=True))
    ]
    saved = [
        {"key": key, "title": draw(_WORDS), "rule": draw(_RULES)} for key in sorted(draw(st.sets(_KEYS, max_size=3)))
    ]
    own: dict[str, Any] = {"title": draw(_LINE), "locale": draw(st.sampled_from(["en", "zh-CN", "de"]))}
    if draw(st.booleans()):
        own |= {"sender_name": draw(_LINE), "quiet_hours": {"from": "20:00", "to": "20:00"}, "rates": {"USD": "1.5"}}
    return {"settings": own, "tiers": levels, "segments": saved, "journeys": told, "templates": dict(sorted(written.items()))}  # fmt: skip


_shop_ids = itertools.count(100)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(first=_programs(), second=_programs())
def test_any_programme_goes_round(sqlite_db: Database, first: dict[str, Any], second: dict[str, Any]) -> None:
    """What is loaded is what is given back, over an empty shop and over another programme; loading it again writes nothing."""
    with sqlite_db.write() as connection:
        shop = make_shop(connection, next(_shop_ids))
        load(connection, shop, first, NOON)
        assert dump(connection, shop) == first
        text = to_yaml(first)
        assert documents.read(text, "x") == first
        again = load(connection, shop, documents.read(text, "x"), NOON).as_dict()
        assert all(NOTHING.items() <= again[section].items() for section in first)
        # Journeys and texts of the first stay; what the second names is as it says.
        try:
            load(connection, shop, second, NOON)
        except CrmError:
            # Refused for what the first left behind: then nothing of it is there.
            assert dump(connection, shop) == first
        else:
            merged = dump(connection, shop)
            assert {name: merged[name] for name in ("tiers", "segments")} == {
                name: second[name] for name in ("tiers", "segments")
            }
            assert {one["key"] for one in merged["journeys"]} == {
                one["key"] for one in (*first["journeys"], *second["journeys"])
            }
            assert [one for one in merged["journeys"] if one in second["journeys"]] == second["journeys"]
        assert shop_by_id(connection, shop.shop_id).currency == "EUR"


def test_segments_are_sorted_and_replaced(db: Database, shop: Shop) -> None:
    _load(db, shop, {"segments": [{"key": key, "rule": "everyone"} for key in ("b", "a_1", "a-1")]})
    with db.read() as connection:
        stamps = {one.key: one.updated_at for one in segments.list(connection, 1)}
    assert [one["key"] for one in _dump(db, shop)["segments"]] == ["a-1", "a_1", "b"]
    assert set(stamps.values()) == {NOON}
