"""A recipe's mail rendered in the sandbox against bare compiled Jinja; mails from the skeleton against the standard library's classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from email.message import EmailMessage
from email.utils import format_datetime, formataddr

from jinja2 import Environment, StrictUndefined

from benchmarks.data import END
from benchmarks.harness import Options, Result, benchmark, fastest
from crm_plugin.adapters.channels.mime import message_id, skeleton
from crm_plugin.records import Message
from crm_plugin.rules.triggers import QuietHours, read_time
from crm_plugin.touchpoints.policy import Brand, Policy
from crm_plugin.touchpoints.recipes import recipe_texts
from crm_plugin.touchpoints.render import RIGHT_TO_LEFT, Rendered, Text, preheader, render
from crm_plugin.touchpoints.sandbox import inlined
from crm_plugin.touchpoints.scene import Scene, ShopView, sample_scenes

_SHOP = ShopView("Lantern and Leaf", "https://shop.example", "1 Lane, London", "GBP")
_FROM = ("shop@lantern.example", "Lantern and Leaf")


@benchmark("rendering.sandbox")
def sandbox(options: Options) -> Iterator[Result]:
    """Subject, plain text and HTML of the birthday mail, for as many members as the shop has (at most 20,000)."""
    count = min(options.members, 20_000)
    text, scenes, brand = _text(), _scenes(count), Brand()
    bare = _Bare(text, brand)
    assert bare.render(scenes[0], brand) == render(text, scenes[0], brand)
    ours, limit = fastest(
        options.repeats,
        lambda: [render(text, scene, brand) for scene in scenes],
        lambda: [bare.render(scene, brand) for scene in scenes],
    )
    yield Result("rendering: sandbox", count / ours, count / limit, "mails/s", 0.9, True, "bare compiled Jinja")


@benchmark("rendering.mime")
def mime(options: Options) -> Iterator[Result]:
    """The bytes of rendered mails: text and HTML, one-click headers, a name that is not ASCII."""
    count = min(options.members, 2_000)
    text, brand = _text(), Brand()
    messages = [_message(number, render(text, scene, brand)) for number, scene in enumerate(_scenes(count))]
    frame = skeleton(*_FROM)
    ours, limit = fastest(
        options.repeats,
        lambda: [frame.build(message, date=END) for message in messages],
        lambda: [_by_library(message) for message in messages],
    )
    yield Result("rendering: MIME", count / ours, count / limit, "mails/s", 25, True, "EmailMessage.as_bytes")


class _Bare:
    """The same texts compiled by Jinja as it comes, and what `render` does around them."""

    def __init__(self, text: Text, brand: Brand) -> None:
        plain = Environment(undefined=StrictUndefined, keep_trailing_newline=False)
        marked = Environment(undefined=StrictUndefined, autoescape=True, keep_trailing_newline=False)
        for environment in (plain, marked):
            environment.filters |= _filters()
        self._subject = plain.from_string(text.subject)
        self._text = plain.from_string(text.body_text)
        self._html = marked.from_string(inlined(text.body_html, brand))

    def render(self, scene: Scene, brand: Brand) -> Rendered:
        names = scene.names()
        subject, text = self._subject.render(names), self._text.render(names)
        around = {
            **names,
            "title": subject,
            "preheader": preheader(text),
            "lang": scene.locale,
            "dir": "rtl" if scene.locale.split("-")[0] in RIGHT_TO_LEFT else "ltr",
            "brand": brand,
        }
        html = self._html.render(around)
        return Rendered(scene.locale, " ".join(subject.split()), text.strip("\n") + "\n", html)


def _filters() -> dict[str, object]:
    from crm_plugin.touchpoints.sandbox import Sandbox

    ours = Sandbox(autoescape=False).filters
    return {name: ours[name] for name in ("money", "date")}


def _text() -> Text:
    return next(text for text in recipe_texts("birthday") if (text.channel, text.locale) == ("email", "en"))


def _scenes(count: int) -> list[Scene]:
    policy = Policy(QuietHours(read_time("21:00"), read_time("08:00")), Brand(), cta_url=_SHOP.url)
    scene = sample_scenes(policy, _SHOP, "en", with_order=False)[0]
    return [replace(scene, member=replace(scene.member, first_name=f"Name{number}")) for number in range(count)]


def _message(number: int, made: Rendered) -> Message:
    return Message(
        channel="email",
        to=f"member{number}@example.test",
        to_name="Zoë Müller" if number % 2 else "Ann Example",
        touchpoint_key=f"birthday:{number}:0:2026",
        text=made.text,
        subject=made.subject,
        html=made.html,
        unsubscribe_url=f"https://crm.example/u/{number}",
    )


def _by_library(message: Message) -> bytes:
    mail = EmailMessage()
    mail["From"] = formataddr((_FROM[1], _FROM[0]))
    mail["To"] = formataddr((message.to_name, message.to))
    mail["Subject"] = message.subject
    mail["Date"] = format_datetime(END)
    mail["Message-ID"] = message_id(message.touchpoint_key, "lantern.example")
    mail["List-Unsubscribe"] = f"<{message.unsubscribe_url}>"
    mail["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    mail.set_content(message.text)
    mail.add_alternative(message.html, subtype="html")
    return mail.as_bytes()
