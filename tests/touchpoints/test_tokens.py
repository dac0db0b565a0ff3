"""Links and inbox: tokens nobody else can make, a refusal that holds, messages of one member alone."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from crm_plugin.errors import InvalidInput, NotFound
from crm_plugin.records import Message
from crm_plugin.store import consents, member_consents, members
from crm_plugin.store.secrets import SecretBox
from crm_plugin.store.session import Database
from crm_plugin.touchpoints import inapp, tokens, unsubscribe
from tests.factories import NOON, make_shop, member, write

BOX = SecretBox("A" * 43 + "=")
OTHER = SecretBox("B" * 43 + "=")


def test_unsubscribe_token_is_ours_alone() -> None:
    about = tokens.Unsubscribe(1, 2, "email", "marketing", 3)
    token = tokens.unsubscribe(BOX, about)
    assert tokens.read_unsubscribe(BOX, token) == about
    for bad in (token[:-1], tokens.unsubscribe(OTHER, about), tokens.member(BOX, 1, 2), ""):
        with pytest.raises(InvalidInput):
            tokens.read_unsubscribe(BOX, bad)
    assert tokens.read_member(BOX, tokens.member(BOX, 1, 2)) == (1, 2)
    with pytest.raises(InvalidInput):
        tokens.read_member(BOX, token)


def test_tokens_outlive_a_new_key() -> None:
    old, new = "A" * 43 + "=", "C" * 43 + "="
    about = tokens.Unsubscribe(1, 2, "email", "marketing", 3)
    mailed, inbox = tokens.unsubscribe(SecretBox(old), about), tokens.member(SecretBox(old), 1, 2)
    rotated = SecretBox(new, old)
    assert tokens.read_unsubscribe(rotated, mailed) == about
    assert tokens.read_member(rotated, inbox) == (1, 2)
    # What is made from now on is signed with the new key, so that the old one can go some day.
    assert tokens.read_unsubscribe(SecretBox(new), tokens.unsubscribe(rotated, about)) == about
    with pytest.raises(InvalidInput):
        tokens.read_unsubscribe(SecretBox(new), mailed)


def test_long_token_is_packed() -> None:
    about = tokens.Link(1, 2, "https://shop.example/" + "a" * 1000)
    token = tokens.link(BOX, about)
    assert tokens.read_link(BOX, token) == about
    assert len(token) < 200


def test_unsubscribing_twice_is_one_statement(db: Database) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
    write(db, shop, [member("1", email="a@x.test")])
    with db.write() as connection:
        member_id = connection.execute(select(members.c.member_id)).scalar_one()
        about = tokens.Unsubscribe(shop.shop_id, member_id, "email", "marketing", 5)
        assert unsubscribe.apply(connection, about, NOON)
        assert not unsubscribe.apply(connection, about, NOON + timedelta(hours=1))
        assert connection.execute(select(member_consents.c.state)).scalar_one() == "withdrawn"
        (row,) = connection.execute(select(consents)).all()
        assert (row.source, row.proof, row.at) == ("link", {"touchpoint": "5"}, NOON)
        assert not unsubscribe.apply(connection, tokens.Unsubscribe(shop.shop_id, 999, "email", "marketing"), NOON)


def test_inbox_keeps_a_message_once_and_for_its_owner(db: Database) -> None:
    with db.write() as connection:
        shop = make_shop(connection)
    write(db, shop, [member("1"), member("2")])
    keep = inapp.sink(db, shop.shop_id, lambda: NOON)
    message = Message(channel="inapp", to="1", touchpoint_key="k", text="Hello", subject="Hi", member_external_id="1")
    first = keep(message, "k")
    assert keep(message, "k") == first
    with db.write() as connection:
        ids = {row.external_id: row.member_id for row in connection.execute(select(members))}
        (shown,) = inapp.messages(connection, shop.shop_id, ids["1"], NOON)
        assert (shown["id"], shown["title"], shown["body"], shown["read"]) == (first, "Hi", "Hello", False)
        assert inapp.messages(connection, shop.shop_id, ids["2"], NOON) == []
        inapp.mark(connection, shop.shop_id, ids["1"], int(first), "click", NOON)
        assert inapp.messages(connection, shop.shop_id, ids["1"], NOON)[0]["read"] is True
        with pytest.raises(NotFound):
            inapp.mark(connection, shop.shop_id, ids["2"], int(first), "read", NOON)
        with pytest.raises(InvalidInput):
            inapp.mark(connection, shop.shop_id, ids["1"], int(first), "eaten", NOON)
