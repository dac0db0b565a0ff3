"""Mail built from the skeleton, read back by the standard library."""

from __future__ import annotations

import dataclasses
from binascii import b2a_qp
from datetime import UTC, datetime, timedelta, timezone
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import parseaddr
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_plugin.adapters.channels import bodies
from crm_plugin.adapters.channels.mime import ascii_address, message_id, skeleton
from crm_plugin.errors import PermanentError, RecipientRefused
from crm_plugin.records import Message
from crm_plugin.woven import of_blocks

DATE = datetime(2026, 6, 1, 14, 30, 5, tzinfo=timezone(timedelta(hours=2)))
MESSAGE = Message(
    channel="email",
    to="anna@example.com",
    touchpoint_key="lapse:7:0:lapse:2026-01-05",
    subject="It has been a while",
    text="Hello",
)


def data(sender_name: str = "Shop", **changes: Any) -> bytes:
    form = skeleton("shop@example.org", sender_name, changes.pop("own_reply_to", ""))
    return form.build(dataclasses.replace(MESSAGE, **changes), date=DATE).data


def read(raw: bytes) -> EmailMessage:
    parsed = message_from_bytes(raw, policy=policy.default)
    assert isinstance(parsed, EmailMessage)
    assert not parsed.defects
    return parsed


def content(part: EmailMessage) -> str:
    return part.get_payload(decode=True).decode("utf-8")  # type: ignore[union-attr]


def test_plain_mail_byte_for_byte() -> None:
    assert data(text="Grüße aus dem Hafen von Bristol,\nHarbour\n").decode("ascii").split("\r\n") == [
        "From: Shop <shop@example.org>",
        "MIME-Version: 1.0",
        "To: anna@example.com",
        "Subject: It has been a while",
        "Date: Mon, 01 Jun 2026 12:30:05 +0000",
        "Message-ID: <e7546560e1527cfaec7e7f04df400b10@example.org>",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: quoted-printable",
        "",
        "Gr=C3=BC=C3=9Fe aus dem Hafen von Bristol,",
        "Harbour",
        "",
    ]


def test_alternative_puts_text_before_html() -> None:
    mail = read(data(text="好久不见", html="<p>Hello =_\n--=_ there</p>", own_reply_to="help@example.org"))
    assert mail.get_content_type() == "multipart/alternative"
    assert mail["Reply-To"] == "help@example.org"
    plain, html = mail.iter_parts()
    assert (plain.get_content_type(), plain["Content-Transfer-Encoding"]) == ("text/plain", "base64")
    assert (html.get_content_type(), html["Content-Transfer-Encoding"]) == ("text/html", "quoted-printable")
    assert (content(plain), content(html)) == ("好久不见\r\n", "<p>Hello =_\r\n--=_ there</p>\r\n")


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        ("Hello\n\tand bye\n" * 50, "7bit"),
        ("a" * 998, "7bit"),
        ("a" * 999, "quoted-printable"),
        ("Hello \nthere", "quoted-printable"),
        ("Hello\nFrom here", "quoted-printable"),
        ("From here", "quoted-printable"),
        ("a\x00b", "quoted-printable"),
        ("a=_crm-plugin-alternative --=_", "7bit"),
        ("--=_crm-plugin-alternative--", "quoted-printable"),
        ("Grüße aus dem Hafen von Bristol", "quoted-printable"),
    ],
)
def test_what_is_plain_goes_as_it_is(text: str, encoding: str) -> None:
    mail = read(data(text=text, html="<p>Hello</p>"))
    plain, html = mail.iter_parts()
    assert (plain["Content-Transfer-Encoding"], html["Content-Transfer-Encoding"]) == (encoding, "7bit")
    assert content(plain) == text.rstrip("\n").replace("\n", "\r\n") + "\r\n"


def test_message_id_is_of_touchpoint_and_domain() -> None:
    first = skeleton("shop@example.org").build(MESSAGE, date=DATE)
    later = skeleton("shop@example.org").build(MESSAGE, date=DATE + timedelta(days=1))
    assert first.message_id == later.message_id == message_id(MESSAGE.touchpoint_key, "example.org")
    assert first.message_id != message_id(MESSAGE.touchpoint_key, "example.net")
    assert first.message_id != message_id("lapse:7:1:lapse:2026-01-05", "example.org")


def test_unsubscribe_headers_only_with_a_link() -> None:
    with_link = read(data(unsubscribe_url="https://crm.example/u/a-token"))
    assert with_link["List-Unsubscribe"] == "<https://crm.example/u/a-token>"
    assert with_link["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    without = read(data(marketing=False))
    assert "List-Unsubscribe" not in without
    assert "List-Unsubscribe-Post" not in without
    assert without["Auto-Submitted"] == "auto-generated"


def test_further_headers() -> None:
    mail = read(data(headers={"Feedback-ID": "lapse:shop:marketing:crm", "X-Note": "für Anna"}))
    assert mail["Feedback-ID"] == "lapse:shop:marketing:crm"
    assert mail["X-Note"] == "für Anna"


@pytest.mark.parametrize(
    "name",
    [
        "Anna",
        "Anna O'Neill",
        "Neill, Anna",
        'Anna "Ann" \\ Neill',
        "王小明",
        "Anna =?utf-8?q?x?=",
        "Ümit " * 20,
        "a" * 120,
    ],
)
def test_names_survive(name: str) -> None:
    """Read by the older parser: the newer one puts blanks between the encoded words of a long name."""
    mail = message_from_bytes(data(to_name=name, sender_name=name))
    for header, address in (("To", "anna@example.com"), ("From", "shop@example.org")):
        display, spec = parseaddr(mail[header].replace("\r\n", ""))
        assert (str(make_header(decode_header(display))), spec) == (name.strip(), address)


@pytest.mark.slow
@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=300))
def test_any_subject_survives(subject: str) -> None:
    raw = data(subject=subject)
    header = raw.partition(b"Subject:")[2].partition(b"\r\nDate:")[0]
    assert max(map(len, (b"Subject:" + header).split(b"\r\n"))) <= 76
    assert read(raw)["Subject"].strip(" ") == subject.strip(" ")


@pytest.mark.slow
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text(min_size=1, alphabet="a=_-. \n<>é会\t"))
def test_any_body_survives(text: str, html: str) -> None:
    raw = data(text=text, html=html)
    assert raw.isascii()
    lines = raw.split(b"\r\n")
    assert all(b"\r" not in line and b"\n" not in line for line in lines)
    assert max(map(len, lines)) <= 78
    plain, rich = read(raw).iter_parts()
    for part, given_text in ((plain, text), (rich, html)):
        wanted = given_text.replace("\r\n", "\n").replace("\r", "\n")
        assert content(part).replace("\r\n", "\n") == (wanted if wanted.endswith("\n") else f"{wanted}\n")


@pytest.mark.parametrize("breaking", ["\r\nBcc: eve@example.com", "\nx", "\rx", "\0"])
@pytest.mark.parametrize("place", ["subject", "to_name", "header name", "header value", "sender_name"])
def test_line_breaks_in_headers_are_refused(place: str, breaking: str) -> None:
    changes: dict[str, Any] = {place: f"a{breaking}"}
    if place.startswith("header"):
        changes = {"headers": {f"X-A{breaking}": "a"} if place == "header name" else {"X-A": f"a{breaking}"}}
    with pytest.raises(PermanentError) as caught:
        data(**changes)
    assert caught.value.code == "header_injection"


@pytest.mark.parametrize(
    "name", ["Bcc", "FROM", "Content-Type", "content-transfer-encoding", "Message-ID", "X Y", "X:Y", ""]
)
def test_our_own_headers_cannot_be_replaced(name: str) -> None:
    with pytest.raises(PermanentError, match="cannot be set"):
        data(headers={name: "x"})


@pytest.mark.parametrize(
    "url", ["https://a.example/u\r\nBcc: x", "https://a.example/u> <b", "mailto:a@b", "https://a.example/ü"]
)
def test_unsubscribe_link_must_be_an_address(url: str) -> None:
    with pytest.raises(PermanentError):
        data(unsubscribe_url=url)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "anna",
        "anna@",
        "a b@example.com",
        "a@b@c.example",
        "a@example.com\r\n",
        "<a@example.com>",
        "änna@example.com",
    ],
)
def test_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(RecipientRefused) as caught:
        data(to=address)
    assert not caught.value.suppress
    with pytest.raises(PermanentError):
        skeleton(address or "x")


def test_domain_goes_in_ascii() -> None:
    assert ascii_address("anna@bücher.example") == "anna@xn--bcher-kva.example"


def test_date_needs_a_zone() -> None:
    with pytest.raises(ValueError, match="zone"):
        skeleton("shop@example.org").build(MESSAGE, date=DATE.replace(tzinfo=None))
    assert skeleton("a@b.example").build(MESSAGE, date=DATE.astimezone(UTC)).data.count(b"Date: Mon, 01 Jun 2026") == 1


_LINE_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=120)
_BODY_TEXT = st.text(st.characters(exclude_categories=["Cs", "Cc"], include_characters="\n\t"), max_size=300)


@pytest.mark.slow
@given(subject=_LINE_TEXT, name=_LINE_TEXT, to_name=_LINE_TEXT, text=_BODY_TEXT, html=_BODY_TEXT, note=_LINE_TEXT)
def test_a_reader_sees_what_the_standard_library_would_have_written(
    subject: str, name: str, to_name: str, text: str, html: str, note: str
) -> None:
    text = text or "x"
    ours = read(data(name, subject=subject, to_name=to_name, text=text, html=html, headers={"X-Note": note}))
    theirs = EmailMessage(policy=policy.SMTP)
    theirs["Subject"], theirs["X-Note"] = subject, note
    theirs["From"] = Address(name.strip(), addr_spec="shop@example.org")
    theirs["To"] = Address(to_name.strip(), addr_spec="anna@example.com")
    theirs.set_content(text)
    if html:
        theirs.add_alternative(html, subtype="html")
    again = read(theirs.as_bytes())
    for header in ("Subject", "X-Note"):
        assert str(ours[header]).split() == str(again[header]).split()
    for header in ("From", "To"):
        (one,), (other,) = ours[header].addresses, again[header].addresses
        assert (one.display_name.split(), one.addr_spec) == (other.display_name.split(), other.addr_spec)
    kinds = [[part.get_content_type() for part in mail.walk()] for mail in (ours, again)]
    assert kinds[0] == kinds[1]
    bodies = [[_seen(part) for part in mail.walk() if not part.is_multipart()] for mail in (ours, again)]
    assert bodies[0] == bodies[1]


def _seen(part: EmailMessage) -> list[str]:
    return [line.rstrip("\n") for line in content(part).replace("\r\n", "\n").rstrip("\n").split("\n")]


@given(st.text("a=. \t\n\0é\u200c", max_size=300), st.integers(0, 1_100))
def test_lines_are_quoted_one_by_one_as_they_are_together(text: str, long: int) -> None:
    # After so much that is plain, base64 is never shorter.
    text = f"é{'x' * 76}\n{'x' * 76}\n" * 50 + f"{'x' * long}{text}\n"
    body = data(text=text, html="").partition(b"\r\n\r\n")[2]
    assert body == b2a_qp(text.encode(), istext=True).replace(b"\n", b"\r\n")


def test_only_what_differs_between_the_mails_of_a_template_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[bytes] = []

    def encode(lines: bytes, **how: Any) -> bytes:
        encoded.append(lines)
        return b2a_qp(lines, **how)

    monkeypatch.setattr(bodies, "b2a_qp", encode)
    for name in ("Anna", "Tom", "Eve"):
        data(html=f"<p>Grüße aus dem Hafen von Bristol</p>\n<p>{name}</p>\n<p>Bis bald in der Werkstatt</p>")
    assert encoded[3:] == [b"<p>Tom</p>\n", b"<p>Eve</p>\n"]


_LINES = st.lists(st.text("ab=_-. \té\r", max_size=8), max_size=4).map(
    lambda lines: "".join(f"{one}\n" for one in lines)
)


@given(st.lists(_LINES, min_size=3, max_size=7).filter(lambda blocks: len(blocks) % 2), st.text("a. \té", max_size=8))
def test_mail_reads_alike_whether_its_html_is_woven_or_not(blocks: list[str], end: str) -> None:
    blocks[-1] += end
    assert data(html=of_blocks(blocks)) == data(html="".join(blocks))


def test_what_the_mails_of_a_template_have_in_common_is_looked_at_once() -> None:
    bodies.forget()
    common = "<p>Hello</p>\n"
    for name in ("Anna", "Tom", "Eve"):
        data(html=of_blocks((f"<p>{name}</p>\n", common, "<p>Bye</p>")))
    told = bodies._kept_as_it_is.cache_info()
    assert (told.misses, told.hits, told.currsize) == (1, 2, 1)
