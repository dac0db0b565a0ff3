"""The programme of a shop as one document: what the merchant decided about settings, tiers, segments, journeys and texts.

Loading checks everything before it writes anything, in the caller's transaction. Only the sections that are there are touched. `tiers` and
`segments` are replaced as a whole. In `settings`, `journeys` and `templates` what is not named stays as it is, so that a journey that
runs, and the words it speaks with, end only when the file says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, select

from crm_plugin.clock import local_day
from crm_plugin.phrases import phrase
from crm_plugin.rules import compile_rule, segments, tiers
from crm_plugin.rules.asked import Rewritten, book_then, refuse_asked
from crm_plugin.rules.book import RULE, check_key, resolve
from crm_plugin.rules.nodes import Everyone, Node
from crm_plugin.rules.triggers import kind_of
from crm_plugin.rules.windows import PROGRAM
from crm_plugin.store import audit, shops
from crm_plugin.store.tenants import Shop, shop_by_id
from crm_plugin.touchpoints import confirming, journeys, texts
from crm_plugin.touchpoints.journey import Draft, Journey
from crm_plugin.touchpoints.program_file import PART_NAMES, Place, Program, place_of, read_program, within
from crm_plugin.touchpoints.program_state import ProgramReport, ProgramState, report_of
from crm_plugin.touchpoints.render import Text
from crm_plugin.touchpoints.settings import save_settings

# What the audit log calls it.
LOADED = "program.loaded"


def load(
    connection: Connection,
    shop: Shop,
    document: Mapping[str, Any],
    now: datetime,
    *,
    actor: str = "",
    typed: str = "",
) -> ProgramReport:
    """Make the shop's programme what the document says. An `actor` goes into the audit log.

    `typed` is the number of people, which campaigns to many that it switches on or changes ask for (`confirming.py`).

    Raises: InvalidInput, RuleError, naming section and key; nothing is written then.
    """
    program = read_program(document)
    # One at a time for a shop: what is checked here must still be so when it is written.
    connection.execute(select(shops.c.shop_id).where(shops.c.shop_id == shop.shop_id).with_for_update(key_share=True))
    shop = shop_by_id(connection, shop.shop_id)
    before = ProgramState.of(connection, shop)
    _check_rules(connection, shop, program, before, now)
    wanted = _wanted_texts(program, before)
    _check_texts(shop, program, before, wanted)
    _write(connection, shop, program, wanted, now)
    after = ProgramState.of(connection, shop_by_id(connection, shop.shop_id))
    _confirm(connection, shop, before, after, typed, now)
    report = report_of(program, before, after)
    if actor:
        audit.note(connection, shop.shop_id, actor, LOADED, report.as_dict(), now)
    return report


def dump(connection: Connection, shop: Shop) -> dict[str, Any]:
    """The shop's programme as a document with all sections; loading it changes nothing."""
    state = ProgramState.of(connection, shop_by_id(connection, shop.shop_id))
    written: dict[str, Any] = {}
    for (key, channel, locale), text in state.texts.items():
        parts = {PART_NAMES[part]: source for part, source in text.parts().items() if source}
        written.setdefault(key, {}).setdefault(channel, {})[locale] = parts
    main = state.policies.get(PROGRAM)
    told: dict[str, Any] = {"settings": state.settings}
    if main is None:
        told["tiers"] = [level.as_dict() for level in state.levels]
    if state.policies:
        told["tier_programs"] = [policy.as_file() for policy in state.policies.values()]
    return {
        **told,
        "segments": [segment.as_dict() for segment in state.segments],
        "journeys": [_journey_dict(journey) for journey in state.journeys.values()],
        "templates": written,
    }


def _journey_dict(journey: Journey) -> dict[str, Any]:
    told = journey.as_dict()
    return told if told["audience"] else {key: value for key, value in told.items() if key != "audience"}


def _check_rules(connection: Connection, shop: Shop, program: Program, before: ProgramState, now: datetime) -> None:
    """Hold every rule against the tiers there will be: those of the file, and those the file leaves."""
    levels = [level.key for level in (before.levels if program.tiers is None else program.tiers)]
    rules: dict[str, Node | None] = {}
    for draft in program.segments or ():
        with within("segments", draft.key):
            rules[draft.key] = compile_rule(draft.rule).node
    besides = _rewritten(program, rules, before)
    book = book_then(connection, shop, levels, besides.segments)
    told = {one.program: one.keys for one in program.policies or () if one.effective_on is None}
    book = replace(book, levels={**book.levels, **told})
    for key, rule in rules.items():
        with within("segments", key):
            check_key(key, phrase("segment"))
            resolve(rule or Everyone(), book)
    for policy in program.policies or ():
        with within("tier_programs", policy.program):
            tiers.check_policy(policy, book, now, shop)
    if program.tiers is not None:
        with within("tiers"):
            tiers.check_levels(program.tiers, book, connection, shop, now)
    for journey in program.journeys or ():
        if journey.audience_text:
            with within("journeys", journey.key):
                compile_rule(journey.audience_text, book)
    if program.tiers is not None or program.policies is not None or program.segments is not None:
        place = "tiers" if program.tiers is not None else "segments" if program.policies is None else "tier_programs"
        with within(place):
            refuse_asked(connection, shop, book, local_day(now, shop.timezone), besides)


def _rewritten(program: Program, rules: Mapping[str, Node | None], before: ProgramState) -> Rewritten:
    """What the file gives another rule, or takes away; lists of members are no file's business and stay."""
    lists = {one.key: None for one in before.segments if one.node is None and one.key not in rules}
    segments_then = None if program.segments is None else {**lists, **rules}
    ladders = program.tiers is not None or program.policies is not None
    return Rewritten(segments_then, {draft.key for draft in program.journeys or ()}, ladders)


def _wanted_texts(program: Program, before: ProgramState) -> dict[Place, Text]:
    """The texts to be written: those of the file, and of named recipes what is neither there nor in the file."""
    told = {place_of(text): text for text in program.templates or ()}
    offered = {place_of(text): text for text in program.offered}
    return {**{place: text for place, text in offered.items() if place not in before.texts}, **told}


@dataclass(frozen=True, slots=True)
class _Coming:
    """A journey as it will be."""

    key: str
    template_key: str
    channels: tuple[str, ...]
    with_order: bool
    marketing: bool
    enabled: bool


def _coming(program: Program, before: ProgramState) -> list[_Coming]:
    drafts = {draft.key: draft for draft in program.journeys or ()}
    found: list[_Coming] = []
    for key in before.journeys.keys() | drafts.keys():
        present = before.journeys.get(key)
        one: Draft | Journey | None = drafts.get(key, present)
        assert one is not None
        enabled = one.enabled if one.enabled is not None else present is not None and present.enabled
        follows = kind_of(one.trigger).about_order
        for voice in one.voices:
            marketing = voice.kind == "marketing"
            found.append(_Coming(key, voice.template_key, voice.channels, follows, marketing, enabled))
    return sorted(found, key=lambda coming: coming.key)


def _check_texts(shop: Shop, program: Program, before: ProgramState, wanted: Mapping[Place, Text]) -> None:
    coming = _coming(program, before)
    for place, text in wanted.items():
        # What is there already is not refused for standing in the file too.
        if not texts.same(text, before.texts.get(place)):
            users = [journey for journey in coming if journey.template_key == text.template_key]
            with within("templates", *place):
                with_order = all(journey.with_order for journey in users)
                texts.check_text(shop, text, with_order=with_order, marketing=any(one.marketing for one in users))
    all_texts = {**before.texts, **wanted}
    named = {draft.key for draft in program.journeys or ()}
    written = {key for key, _, _ in wanted}
    for journey in coming:
        if journey.enabled and (journey.key in named or journey.template_key in written):
            own = [text for place, text in sorted(all_texts.items()) if place[0] == journey.template_key]
            other = journey.template_key if journey.template_key != journey.key else ""
            with within("journeys", journey.key, other):
                texts.require(shop, journey.channels, own, with_order=journey.with_order, marketing=journey.marketing)


def _write(connection: Connection, shop: Shop, program: Program, wanted: Mapping[Place, Text], now: datetime) -> None:
    if program.settings is not None:
        with within("settings"):
            shop = save_settings(connection, shop, program.settings, now)
    if program.tiers is not None and program.tiers != tiers.levels(connection, shop.shop_id):
        tiers.put_main_levels(connection, shop, program.tiers, now)
    for policy in program.policies or ():
        tiers.put_policy(connection, shop, policy, now)
    if program.segments is not None:
        _write_segments(connection, shop, program, now)
    for text in wanted.values():
        texts.put(connection, shop.shop_id, text, now)
    for draft in program.journeys or ():
        with within("journeys", draft.key):
            journeys.save(connection, shop, draft, now)


def _confirm(
    connection: Connection, shop: Shop, before: ProgramState, after: ProgramState, typed: str, now: datetime
) -> None:
    """Ask for the number of people where campaigns are on that were not, or not so. Raises: InvalidInput."""
    was = {key: journey.as_dict() for key, journey in before.journeys.items()}
    fresh = [one for key, one in after.journeys.items() if one.enabled and was.get(key) != one.as_dict()]
    count = sum(confirming.people(connection, shop, one, now) for one in fresh)
    with within("journeys"):
        confirming.require(shop, count, typed)


def _write_segments(connection: Connection, shop: Shop, program: Program, now: datetime) -> None:
    present = {one.key: one for one in segments.list(connection, shop.shop_id)}
    for draft in program.segments or ():
        one = present.pop(draft.key, None)
        if one is None or (one.title, one.rule) != (draft.title, draft.rule.strip()):
            segments.put(connection, shop, draft.key, compile_rule(draft.rule), now, title=draft.title)
    for key, one in present.items():
        if one.kind == RULE:
            segments.forget(connection, shop, key)
