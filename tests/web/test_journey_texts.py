"""The editor of texts: shown as a real member gets it, refused where a member could not, sent to nobody but the merchant."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from email import message_from_bytes
from email.policy import default
from html import unescape
from typing import Any

import pytest
from flask.testing import FlaskClient
from sqlalchemy import select

from crm_plugin.demo import mail_sink
from crm_plugin.demo.mail_sink import MailSink
from crm_plugin.records import ConsentRecord, ConsentState
from crm_plugin.runtime import Runtime
from crm_plugin.store import audit_log, members, touchpoints
from crm_plugin.store.tenants import Shop
from crm_plugin.touchpoints import journeys as store
from crm_plugin.touchpoints import recipes, senders, templates
from crm_plugin.touchpoints.render import Text
from crm_plugin.touchpoints.scene import VARIABLES
from crm_plugin.touchpoints.texts import get_text
from crm_plugin.web.text_form import variables
from tests.factories import NOON, member, order, write
from tests.web.conftest import Page, Post, words

YES = (ConsentRecord(channel="email", state=ConsentState.GRANTED, at=NOON - timedelta(days=90)),)
MAIL = "journeys/birthday/texts/email/en"
SMS = "journeys/birthday/texts/sms/en"
LETTER = {"subject": "Hello {{ member.first_name }}", "body_html": "<h1>Hi {{ member.name }}</h1>", "body_text": "Hi!"}


@pytest.fixture(autouse=True)
def installed(runtime: Runtime, shop: Shop) -> None:
    """The recipes, and three members: Anna, Bo and a nameless one without a birthday."""
    with runtime.db.write() as connection:
        recipes.install(connection, shop, NOON)
    born = {"birth_month": 6, "birth_day": 4, "consents": YES}
    for number, told in enumerate([{"first_name": "Anna", **born}, {"first_name": "Bo<b>", **born}, {}]):
        write(runtime.db, shop, [member(str(number), email=f"m{number}@x.test", **told)])


@pytest.fixture
def mails(runtime: Runtime, shop: Shop) -> Iterator[MailSink]:
    """A mail server that keeps what it is given, set up as the shop's."""
    with mail_sink.serve() as sink:
        values = {"host": sink.host, "port": sink.port, "security": "none", "from_address": "shop@x.test"}
        senders.save_connection(runtime.db, runtime.box, shop, "smtp", values, NOON)
        yield sink


def _kept(runtime: Runtime, channel: str = "email", locale: str = "en") -> Text | None:
    with runtime.db.read() as connection:
        return get_text(connection, 1, "birthday", channel, locale)


def _id_of(runtime: Runtime, external_id: str) -> str:
    with runtime.db.read() as connection:
        query = select(members.c.member_id).where(members.c.shop_id == 1, members.c.external_id == external_id)
        return str(connection.execute(query).scalar_one())


def _audited(runtime: Runtime) -> list[tuple[str, dict[str, Any]]]:
    columns = audit_log.c
    with runtime.db.read() as connection:
        rows = connection.execute(select(columns.action, columns.detail).order_by(columns.audit_id))
        return [(row.action, row.detail) for row in rows]


def test_texts_of_a_journey_are_listed_as_they_begin(page: Page) -> None:
    told = words(page("journeys/birthday"))
    assert "English (en) Happy birthday, Ada" in told
    assert "your words" not in told


def test_default_reader_is_the_newest_who_would_get_it(page: Page, runtime: Runtime) -> None:
    html = page(MAIL)
    assert "As Bo&lt;b&gt; gets it." in html
    assert f'name="member" value="{_id_of(runtime, "1")}"' in html
    assert "<b>" not in html


def test_mail_is_a_document_of_its_own(client: FlaskClient, page: Page, runtime: Runtime) -> None:
    answer = client.get(f"/s/shop-1/{MAIL}/mail?member={_id_of(runtime, '0')}")
    assert "Happy birthday, Anna!" in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox; default-src 'none'")
    assert "script" not in policy
    assert f"/{MAIL}/mail?member=" in page(MAIL)


def test_what_is_written_is_shown_and_not_saved(runtime: Runtime, post: Post) -> None:
    before = _kept(runtime)
    told = words(post(f"{MAIL}/preview", {**LETTER, "member": _id_of(runtime, "0")}).text)
    assert "As Anna gets it. Subject Hello Anna" in told
    mail = post(f"{MAIL}/mail", {**LETTER, "member": _id_of(runtime, "0")})
    assert "Hi Anna</h1>" in mail.text
    assert mail.headers["Content-Security-Policy"].startswith("sandbox")
    html = post(MAIL, {**LETTER, "do": "preview"}).text
    assert "Not saved yet" in words(html)
    assert _kept(runtime) == before


def test_reader_is_found_by_name(runtime: Runtime, post: Post) -> None:
    told = words(post(f"{MAIL}/preview", {**LETTER, "who": "ann"}).text)
    assert "As Anna (m0@x.test) gets it." in told
    several = post(f"{MAIL}/preview", {**LETTER, "who": "m"}).text
    assert "Also found:" in several
    offered = re.findall(r'name="pick" value="(\d+)"', several)
    assert offered == [_id_of(runtime, "1"), _id_of(runtime, "2")]
    assert "As Bo&lt;b&gt; gets it." in post(MAIL, {**LETTER, "who": "m", "pick": offered[0]}).text
    told = words(post(f"{MAIL}/preview", {**LETTER, "who": "nobody"}).text)
    assert "Nobody is found by “nobody”." in told


def test_other_shop_s_member_is_not_shown(post: Post) -> None:
    told = words(post(f"{MAIL}/preview", {**LETTER, "member": "999999"}).text)
    assert "For a made-up member" in told
    assert "Hello Ada" in told


def test_saving_keeps_it_and_says_that_nothing_is_sent_again(runtime: Runtime, post: Post, page: Page) -> None:
    assert post(MAIL, {**LETTER, "do": "save"}).status_code == 303
    assert "Whoever has had this message does not get it again" in words(page(MAIL))
    assert _kept(runtime) == Text("birthday", "email", "en", 2, LETTER["subject"], "Hi!", LETTER["body_html"])
    assert post(MAIL, {**LETTER, "do": "save"}).status_code == 303
    place = {"journey": "birthday", "template": "birthday", "channel": "email", "locale": "en"}
    assert _audited(runtime) == [("text.saved", {**place, "version": 2})]
    assert "your words" in words(page("journeys/birthday"))
    with runtime.db.read() as connection:
        assert connection.execute(select(touchpoints)).all() == []


@pytest.mark.parametrize(
    ("part", "value", "said"),
    [
        ("body_html", "<p>\n{{ membr.name }}</p>", "Line 2: There is no `membr`; did you mean `member`?"),
        (
            "subject",
            "{{ order.number }}",
            "Line 1: `order.number` has nothing to show where a message follows no order",
        ),
        ("subject", "", "has no subject"),
        ("body_text", "{% if days %}x", "Line 1: {% if %} is not closed with {% endif %}."),
        ("body_text", "{{ member.__class__ }}", "Line 1: A name that begins with _ cannot be used."),
    ],
)
def test_mistake_stands_at_its_field(runtime: Runtime, post: Post, part: str, value: str, said: str) -> None:
    before = _kept(runtime)
    answer = post(MAIL, {**LETTER, part: value, "do": "save"})
    assert answer.status_code == 422
    error = re.search(rf'id="e-{part}">([^<]+)<', answer.text)
    assert error is not None
    assert said in unescape(error[1])
    assert _kept(runtime) == before
    assert _audited(runtime) == []
    if part != "subject":
        shown = post(f"{MAIL}/preview", {**LETTER, part: value})
        assert 'class="notice bad"' in shown.text


def test_text_message_is_counted(post: Post) -> None:
    told = words(post(f"{SMS}/preview", {"body_text": "Hi {{ member.first_name }}" + "x" * 160}).text)
    assert "168 characters, sent and paid for as 2 messages. One message holds 160." in told
    told = words(post(f"{SMS}/preview", {"body_text": "生日快乐"}).text)
    assert "4 characters, sent and paid for as 1 message." in told
    assert "one message holds 70." in told


def test_card_in_the_store_has_its_link(post: Post) -> None:
    told = words(
        post(
            "journeys/birthday/texts/inapp/en/preview",
            {"subject": "Hi {{ member.first_name }}", "body_text": "Look", "url": "https://shop.example/{{ days }}"},
        ).text
    )
    assert "Hi Bo<b> Look → https://shop.example/0" in told


def test_another_language_begins_with_a_copy(runtime: Runtime, client: FlaskClient, page: Page, post: Post) -> None:
    answer = client.get("/s/shop-1/journeys/birthday/texts/sms/new?locale=de&copy=en")
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/s/shop-1/journeys/birthday/texts/sms/de?copy=en"
    html = page("journeys/birthday/texts/sms/de?copy=en")
    assert "It begins as a copy of another language" in words(html)
    assert "Happy birthday" in html
    assert _kept(runtime, "sms", "de") is None
    told = {"body_text": "{{ shop.title }}: Alles Gute! STOP zum Abmelden", "do": "save"}
    assert post("journeys/birthday/texts/sms/de", told).status_code == 303
    kept = _kept(runtime, "sms", "de")
    assert kept is not None
    assert kept.version == 1
    assert "German (de)" in words(page("journeys/birthday"))


def test_language_that_is_none_is_refused(runtime: Runtime, client: FlaskClient, post: Post, page: Page) -> None:
    client.get("/s/shop-1/journeys/birthday/texts/sms/new?locale=klingon!")
    assert "is not a language" in words(page("journeys/birthday"))
    assert post("journeys/birthday/texts/sms/xx-nope-9", {"body_text": "Hi", "do": "save"}).status_code == 422
    assert _kept(runtime, "sms", "xx-nope-9") is None


def test_text_is_rehearsed_before_writers_are_held_off(
    runtime: Runtime, post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    free: list[bool] = []

    def look(*_args: object, **_options: object) -> None:
        with runtime.db.write():
            free.append(True)

    monkeypatch.setattr(templates, "check_text", look)
    assert post(MAIL, {**LETTER, "do": "save"}).status_code == 303
    assert free == [True]


def test_heavy_text_is_refused_in_the_preview(post: Post) -> None:
    answer = post(f"{MAIL}/preview", {**LETTER, "body_text": "{{ 9 ** (9 ** 8) % 7 }}"})
    assert "A text cannot raise to a power." in words(answer.text)


def test_recipe_s_own_text_comes_back_when_it_is_saved(runtime: Runtime, post: Post) -> None:
    own = _kept(runtime)
    assert own is not None
    post(MAIL, {**LETTER, "do": "save"})
    answer = post(MAIL, {**LETTER, "do": "recipe"})
    assert "This is the recipe's own text. Save it to use it." in words(answer.text)
    kept = _kept(runtime)
    assert kept is not None
    assert kept.subject == LETTER["subject"]
    again = {"subject": own.subject, "body_html": own.body_html, "body_text": own.body_text, "do": "save"}
    post(MAIL, again)
    kept = _kept(runtime)
    assert kept is not None
    assert (kept.subject, kept.body_html, kept.version) == (own.subject, own.body_html, 3)
    assert "Back to the recipe" not in words(post(MAIL, {**again, "do": "preview"}).text)


def test_language_is_taken_out_and_who_reads_what_then(runtime: Runtime, post: Post, page: Page) -> None:
    assert "Members who read English (en) then get the text in Chinese" in words(page(SMS))
    assert post(SMS, {"do": "remove"}).status_code == 303
    assert _kept(runtime, "sms") is None
    assert [action for action, _ in _audited(runtime)] == ["text.removed"]


def test_last_text_of_a_running_journey_stays(runtime: Runtime, shop: Shop, post: Post) -> None:
    post("journeys/birthday/texts/sms/zh-CN", {"do": "remove"})
    with runtime.db.write() as connection:
        store.switch(connection, shop, "birthday", True, NOON, by_file=True)
    answer = post(SMS, {"do": "remove"})
    assert answer.status_code == 422
    assert "is on and has no other sms text" in words(answer.text)
    assert _kept(runtime, "sms") is not None


@pytest.mark.slow
def test_this_very_text_is_sent_to_the_merchant(runtime: Runtime, post: Post, page: Page, mails: MailSink) -> None:
    told = {**LETTER, "do": "test", "to": "me@x.test", "member": _id_of(runtime, "0")}
    answer = post(MAIL, told)
    assert answer.status_code == 200
    assert "Sent to me@x.test, as it stands here." in words(answer.text)
    assert "Hello {{ member.first_name }}" in answer.text
    (mail,) = mails.messages
    read = message_from_bytes(mail.data, policy=default)
    body = read.get_body(("html",))
    assert body is not None
    assert (mail.recipients, read["Subject"]) == (("me@x.test",), "Hello Anna")
    assert "Hi Anna" in body.get_content()
    kept = _kept(runtime)
    assert kept is not None
    assert kept.version == 1
    assert _audited(runtime)[-1][0] == "text.test"
    post(MAIL, {**LETTER, "do": "save"})
    assert post(MAIL, told).status_code == 303
    assert "Sent to me@x.test" in words(page(MAIL))
    assert len(mails.messages) == 2


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"to": "nowhere"}, "is not an e-mail address."),
        ({"to": "me@x.test", "body_text": "{{ nope }}"}, "There is no `nope`"),
    ],
)
def test_test_that_cannot_be_sent_says_why(
    runtime: Runtime, post: Post, mails: MailSink, told: dict[str, str], said: str
) -> None:
    answer = post(MAIL, {**LETTER, "do": "test", **told})
    assert answer.status_code == 422
    assert said in words(answer.text)
    assert mails.messages == []
    assert _audited(runtime) == []


def test_without_a_sender_no_test_is_offered(page: Page, post: Post) -> None:
    assert "Send a test message" not in words(page(SMS))
    answer = post(SMS, {"body_text": "Hi", "do": "test", "to": "+4915112345678"})
    assert answer.status_code == 422
    assert "No sender that is set up and switched on could send it." in words(answer.text)


def test_order_speaks_only_after_a_purchase(runtime: Runtime, shop: Shop, page: Page, post: Post) -> None:
    write(runtime.db, shop, [order("o1", number="1042", member_external_id="0")])
    assert "Thank you" in words(page("journeys/post_purchase/texts/email/en"))
    told = words(post("journeys/post_purchase/texts/sms/en/preview", {"body_text": "Order {{ order.number }}"}).text)
    assert "As Anna gets it. Order 1042" in told


def test_every_variable_is_explained(runtime: Runtime, app: Any) -> None:
    with runtime.db.read() as connection, app.test_request_context():
        after = {name for name, _ in variables(store.get(connection, 1, "post_purchase"))}
        birthday = {name for name, _ in variables(store.get(connection, 1, "birthday"))}
    roots = {re.split(r"[. |]", name)[0] for name in after}
    assert roots == set(VARIABLES)
    assert {name.split(".")[0] for name in after - birthday} == {"order", "product"}


def test_unknown_place_is_told(page: Page) -> None:
    page("journeys/birthday/texts/fax/en", 404)
    page("journeys/nope/texts/sms/en", 404)


def test_stranger_and_foreign_page_change_nothing(runtime: Runtime, stranger: FlaskClient, client: FlaskClient) -> None:
    before = _kept(runtime)
    path = f"/s/shop-1/{MAIL}"
    assert stranger.get(f"{path}/mail").status_code == 401
    assert stranger.post(path, data={**LETTER, "do": "save"}).status_code == 401
    foreign = {"Origin": "https://evil.example"}
    assert client.post(path, data={**LETTER, "do": "save"}, headers=foreign).status_code == 403
    assert _kept(runtime) == before
