"""Commands that show: serve, link, demo, doctor. Pages and demo are imported when they are asked for: other commands start without."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from datetime import date, timedelta
from pathlib import Path

import click

from crm_plugin.adapters.registry import channel_class, label_of
from crm_plugin.cli.common import answer, as_json_option, main, opened
from crm_plugin.cli.root import stderr
from crm_plugin.config import load_config
from crm_plugin.errors import CrmError, InvalidInput
from crm_plugin.jobs.following import RECONCILE
from crm_plugin.jobs.stalls import Stall, What, stalls
from crm_plugin.rules.tier_holds import holds
from crm_plugin.runtime import Runtime
from crm_plugin.store import hook_counts, migrate, runs
from crm_plugin.store.hook_counts import Odd
from crm_plugin.store.tenants import Shop, all_shops
from crm_plugin.sync import believed, connect, heard, standing, writeback_switch
from crm_plugin.sync.privacy import requests_of
from crm_plugin.touchpoints import health, senders
from crm_plugin.touchpoints.audience import problem_of
from crm_plugin.touchpoints.journeys import all_journeys

HOST, PORT = "127.0.0.1", 8000


@main.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0 takes any that is free."
)
@click.option(
    "--host",
    default=HOST,
    show_default=True,
    help="0.0.0.0 to be reached from other machines; signing in is still needed.",
)
@click.option(
    "--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="So many jobs run at the same time."
)
def serve(port: int, host: str, workers: int) -> None:
    """Run the pages and all that happens by itself.

    It prints a sign-in link, reads stores every few minutes, plans and sends every minute. Set CRM_PUBLIC_URL to the address customers
    reach it under. With CRM_BROKER_URL it serves pages alone; `clock` and `worker` do the rest.
    """
    from crm_plugin.app import create_app
    from crm_plugin.jobs.clock import Clock
    from crm_plugin.jobs.queue import Queue
    from crm_plugin.jobs.remote import RemoteQueue
    from crm_plugin.web.auth import sign_in_path
    from crm_plugin.web.server import listening, wait_for_the_end

    with opened() as runtime, ExitStack() as stack:
        remote = bool(runtime.config.broker_url)
        queue = RemoteQueue(runtime) if remote else Queue(runtime, workers)
        stack.callback(queue.close)
        url = stack.enter_context(listening(create_app(runtime, queue), host, port))
        if not remote:
            clock = Clock(runtime, queue)
            stack.callback(clock.stop)
            clock.start()
        click.echo(f"Open {runtime.config.public_url or url}{sign_in_path(runtime)}")
        stderr.print(
            "The link works once, for 15 minutes; `crm-plugin link` gives another. Ctrl-C ends.",
            highlight=False,
            soft_wrap=True,
        )
        wait_for_the_end()
        stderr.print("Ending: what runs is finished first.")


@main.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="The port that `serve` was given."
)
@as_json_option
def link(port: int, as_json: bool) -> None:
    """A fresh sign-in link for a `serve` that runs."""
    from crm_plugin.web.auth import sign_in_path

    with opened() as runtime:
        url = f"{runtime.config.public_url or f'http://{HOST}:{port}'}{sign_in_path(runtime)}"
    answer({"link": url} if as_json else url, as_json)


@main.command()
@click.option(
    "--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0 takes any that is free."
)
@click.option(
    "--members", type=click.IntRange(min=20), default=3000, show_default=True, help="How many people the shop knows."
)
@click.option("--seed", default=7, show_default=True, help="Another number makes another shop.")
@click.option("--date", "on", metavar="DAY", help="The day it plays on, such as 2026-11-24; else today.")
@click.option(
    "--check", "only_check", is_flag=True, help="Print the counts and end, with exit code 1 if they are wrong."
)
@as_json_option
def demo(port: int, members: int, seed: int, on: str | None, only_check: bool, as_json: bool) -> None:
    """A made-up shop with its pages.

    It is synced, tiered and written to through one day. Nothing leaves this machine, and its data are forgotten when it ends.
    """
    from crm_plugin.demo import run as demos
    from crm_plugin.demo.check import check
    from crm_plugin.jobs.clock import Clock
    from crm_plugin.web.server import wait_for_the_end

    day = _day(on) or demos.today()
    with ExitStack() as stack:
        if only_check:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="crm-demo-"))) / "demo"
        else:
            made = stack.enter_context(tempfile.TemporaryDirectory(prefix="demo-", dir=load_config().data_dir))
            folder = Path(made) / "demo"
        running = stack.enter_context(
            demos.run(
                folder, members=members, seed=seed, on=day, port=port, say=lambda text: stderr.print(f"[dim]{text}[/]")
            )
        )
        if only_check:
            check(running)
            report = running.report
            answer(report.as_dict() if as_json else "\n".join(demos.summary(report)), as_json)
            if report.wrong:
                raise SystemExit(1)
            return
        answer(running.report.as_dict() if as_json else "\n".join(demos.summary(running.report)), as_json)
        clock = Clock(running.runtime, running.queue)
        stack.callback(clock.stop)
        clock.start()
        click.echo(f"Open {running.link}", err=as_json)
        stderr.print("The shop, its people and its mail are made up; nothing leaves this machine.", highlight=False)
        again = f"CRM_DATA_DIR={folder} ./dev run link --port {running.url.rpartition(':')[2]}"
        stderr.print(f"Another sign-in link: {again}", highlight=False, soft_wrap=True)
        stderr.print("Ctrl-C ends the demo; the next one begins anew.", highlight=False)
        wait_for_the_end()


def _day(on: str | None) -> date | None:
    try:
        return date.fromisoformat(on) if on else None
    except ValueError as error:
        raise InvalidInput(f"{on!r} is not a day.", field="date", hint="Write it as 2026-11-24.") from error


@main.command()
@as_json_option
def doctor(as_json: bool) -> None:
    """Say what is wrong and what to do.

    It looks at settings, stores, senders and journeys; nothing is changed or sent.
    """
    found: list[dict[str, str]] = []
    with opened() as runtime:
        with runtime.db.read() as connection:
            shops = all_shops(connection)
        for one in shops:
            found += _store(runtime, one) + _senders(runtime, one) + _journeys(runtime, one) + _tiers(runtime, one)
            found += (
                _levels(runtime, one)
                + _stalled(runtime, one)
                + _hooks(runtime, one)
                + _privacy(runtime, one)
                + _told(runtime, one)
            )
        found += [
            _problem("", f"PostgreSQL runs with {name}=off: {_FORGETS}", f"Set {name} to on.")
            for name in runtime.db.forgetful()
        ]
        revision, kind = migrate.current(runtime.db.engine), runtime.db.engine.dialect.name
        if not runtime.config.public_url:
            found.append(
                _problem(
                    "",
                    "There is no public address: marketing e-mail cannot carry its unsubscribe link, so it waits.",
                    "Set CRM_PUBLIC_URL to the address customers reach this server under.",
                )
            )
    names = [one.name for one in shops]
    if as_json:
        answer({"database": kind, "revision": revision, "shops": names, "problems": found}, True)
        return
    click.echo(f"Database: {kind}, revision {revision}")
    click.echo(f"Shops: {', '.join(names) or 'none yet; add one with `crm-plugin shop add`'}")
    for told in found:
        click.echo(f"! {told['shop'] + ': ' if told['shop'] else ''}{told['problem']} {told['hint']}".rstrip())
    if not found:
        click.echo("All is well.")


_FORGETS = "after a power cut it may have forgotten a message that has left, and it leaves again."


def _problem(shop: str, problem: str, hint: str) -> dict[str, str]:
    return {"shop": shop, "problem": problem, "hint": hint}


def _store(runtime: Runtime, shop: Shop) -> list[dict[str, str]]:
    if not shop.is_awake:
        told = f"The store is not connected ({shop.status}: {standing.of(shop).value or 'no reason is kept'})."
        return [_problem(shop.name, told, "Nothing is done for it until it is installed again.")]
    try:
        storefront = connect.open_storefront(runtime.db, runtime.box, shop)
        try:
            return [_problem(shop.name, one.message, one.hint) for one in storefront.check()]
        finally:
            storefront.close()
    except CrmError as error:
        return [_problem(shop.name, error.message, error.hint)]


def _tiers(runtime: Runtime, shop: Shop) -> list[dict[str, str]]:
    """Tier programmes that stand still; somebody may have forgotten."""
    with runtime.db.read() as connection:
        still = holds(connection, shop.shop_id)
    return [
        _problem(
            shop.name,
            f"The tier programme {one.program} stands still since a run was undone on {one.at.date()}.",
            f"Save another policy, or go on with `crm-plugin tiers apply {shop.name}`.",
        )
        for one in still.values()
    ]


def _levels(runtime: Runtime, shop: Shop) -> list[dict[str, str]]:
    """Levels that do not reach the store for now."""
    with runtime.db.read() as connection:
        found = writeback_switch.standing(connection, shop, most=0)
    waiting = found.states["waiting"]
    if not found.enabled or not waiting:
        return []
    if found.stopped:
        return [_problem(shop.name, f"{waiting:,} levels do not reach the store: {found.stopped}", "")]
    if found.resting_until is None or found.resting_until <= runtime.clock.now():
        return []
    told = f"{waiting:,} levels wait until {found.resting_until:%Y-%m-%d %H:%M}Z: {found.resting}"
    return [_problem(shop.name, told.rstrip(": "), "They go on by themselves.")]


def _stalled(runtime: Runtime, shop: Shop) -> list[dict[str, str]]:
    """What should move and does not."""
    with runtime.db.read() as connection:
        found = stalls(connection, runtime.clock.now(), shop.shop_id)
    return [_problem(shop.name, _standing(one), _STALLED[one.what]) for one in found]


def _standing(one: Stall) -> str:
    since = f"{one.since:%Y-%m-%d %H:%M}Z"
    match one.what:
        case What.ROUNDS:
            return f"There has been no round since {since}."
        case What.MESSAGES:
            return f"{one.count:,} messages are due by {one.adapter or 'no sender'} since {since}, and none leaves."
        case What.CLAIMS:
            return f"{one.count:,} messages were left by a worker at {since}, and no round has settled them."


_STALLED = {
    What.ROUNDS: "Is `serve` running, or `clock` and `worker`?",
    What.MESSAGES: "Look into the log of the rounds, and at the sender.",
    What.CLAIMS: "Look into the log of the rounds: they settle what a worker left.",
}


def _told(runtime: Runtime, shop: Shop) -> list[dict[str, str]]:
    """What the store told and could not be followed, and what the last comparison with it would not believe."""
    with runtime.db.read() as connection:
        count, why = heard.given_up(connection, shop)
        compared = runs.last(connection, shop.shop_id, RECONCILE)
    found = []
    if count:
        told = f"{count:,} changes that the store told were given up: {why}"
        found.append(_problem(shop.name, told, f"`crm-plugin sync {shop.name} --full` reads everything again."))
    for stream, held in believed.held_back(compared).items():
        told = f"{held:,} {stream} are here and were not told by the store: too many to be believed gone."
        hint = f"Look at the store's key; if they are really gone, `crm-plugin shop gone {shop.name} {stream}`."
        found.append(_problem(shop.name, told, hint))
    return found


def _privacy(runtime: Runtime, shop: Shop) -> list[dict[str, str]]:
    """Customers who wait for their data."""
    with runtime.db.read() as connection:
        waiting = [one for one in requests_of(connection, shop) if one.done_at is None]
    return [
        _problem(
            shop.name,
            f"A customer asked for their data; the law gives time until {one.due_at:%Y-%m-%d}.",
            f"`crm-plugin privacy export {shop.name} --request {one.request_id} --to FILE`, and hand it on.",
        )
        for one in waiting
    ]


def _hooks(runtime: Runtime, shop: Shop) -> list[dict[str, str]]:
    """What was refused at the hooks of a shop within a day. What was merely odd is in the figures."""
    with runtime.db.read() as connection:
        there = hook_counts.counts(connection, shop.shop_id)
    since = runtime.clock.now() - timedelta(days=1)
    return [
        _problem(
            shop.name,
            f"{one.number:,} reports to the hook of {label_of(one.adapter)} were refused so far, "
            f"the last at {one.last_at:%Y-%m-%d %H:%M}Z: {one.reason}.",
            _REFUSED[one.reason],
        )
        for one in there
        if one.reason in hook_counts.REFUSED and one.last_at > since
    ]


_REFUSED = {
    Odd.FORGED: "Check the sender's secret, and that CRM_PUBLIC_URL is the very address that the provider calls. "
    "If both are right, somebody else calls there, and nothing came of it.",
    Odd.MALFORMED: "Check that it is this provider that reports to this address.",
    Odd.TRUNCATED: "Look at the proxy before this server: what it passes on breaks off.",
    Odd.OVERSIZED: "Check that it is this provider that reports to this address.",
    Odd.NOT_SET_UP: "Set the sender up, or take the address out at the provider.",
    Odd.NOT_TAKEN: "Look into the log; the provider was asked to report again later.",
}


def _senders(runtime: Runtime, shop: Shop) -> list[dict[str, str]]:
    """What is wrong with the shop's senders. Only looked at: one that waits for the merchant goes on waiting."""
    with runtime.db.read() as connection:
        there = [one for one in senders.senders(connection, shop) if one.enabled]
        rests = health.rests(connection, shop.shop_id, runtime.clock.now())
    found = []
    for adapter, rest in rests.items():
        told = f"{channel_class(adapter).label} is left alone until {rest.until:%Y-%m-%d %H:%M}Z: {rest.why}"
        hint = f"It is tried again by itself then; `crm-plugin sender try {shop.name} {adapter}` does it now."
        found.append(_problem(shop.name, told, hint))
    for one in there:
        if one.status == senders.PAUSED:
            hint = f"Mend it, then run `crm-plugin sender check {shop.name} {one.adapter}`."
            found.append(_problem(shop.name, f"{one.label} is paused: {one.status_detail}", hint))
        elif not one.built_in:
            found += [
                _problem(shop.name, f"{one.label}: {text}", hint) for text, hint in _probed(runtime, shop, one.adapter)
            ]
    return found


def _journeys(runtime: Runtime, shop: Shop) -> list[dict[str, str]]:
    """Journeys that are on and reach nobody: no sender for any of their channels, or an audience that cannot be asked."""
    found = []
    with runtime.db.read() as connection:
        there = senders.available(connection, shop)
        for journey in all_journeys(connection, shop.shop_id):
            if not journey.enabled:
                continue
            if (problem := problem_of(connection, shop, journey)) is not None:
                told = f"The journey {journey.key} stands still: {problem.message}"
                found.append(_problem(shop.name, told, problem.hint))
            if not any(channel in there for channel in journey.channels):
                told = f"The journey {journey.key} is on, and no sender is set up for {', '.join(journey.channels)}."
                hint = f"`crm-plugin sender set {shop.name} smtp host=… from_address=…` sets one up for e-mail, twilio for texts."
                found.append(_problem(shop.name, told, hint))
    return found


def _probed(runtime: Runtime, shop: Shop, adapter: str) -> list[tuple[str, str]]:
    try:
        channel = senders.open_channel(runtime.db, runtime.box, shop, adapter, runtime.clock.now())
        try:
            return [(problem.message, problem.hint) for problem in channel.check()]
        finally:
            channel.close()
    except CrmError as error:
        return [(error.message, error.hint)]
