"""The words of pages for what the code calls by keys: states, reasons, channels, sources; one place, so that a word means one thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flask_babel import lazy_gettext as _

from crm_plugin.adapters.registry import channel_class, is_channel
from crm_plugin.events import DeliveryEventKind as Told
from crm_plugin.records import OrderStatus
from crm_plugin.touchpoints.link_events import ADAPTER as LINK
from crm_plugin.touchpoints.states import Reason, State


@dataclass(frozen=True, slots=True)
class Label:
    """A word in a badge with its tone (good, bad, warn, info, accent, or none), and in `help` what it means and what to do."""

    tone: str
    text: Any
    help: Any


STATES: dict[State, Label] = {
    State.PLANNED: Label("info", _("Waiting"), _("It goes out at the time shown. Until then it can be cancelled.")),
    State.IN_FLIGHT: Label("info", _("Going out"), _("It is being handed over right now. Look again in a minute.")),
    State.RETRY_WAIT: Label(
        "warn",
        _("Will be tried again"),
        _("It could not be handed over yet. It is tried again by itself at the time shown."),
    ),
    State.ACCEPTED: Label(
        "good", _("Sent"), _("The sender took it. Not every sender tells whether it arrived; then it stays at this.")
    ),
    State.DELIVERED: Label("good", _("Arrived"), _("The member's side has confirmed that it arrived.")),
    State.BOUNCED: Label("bad", _("Came back"), _("It was handed over, but the member's side would not take it.")),
    State.COMPLAINED: Label(
        "bad",
        _("Reported as spam"),
        _("It arrived, and the member marked it as spam. Nothing more is sent to this address."),
    ),
    State.UNCONFIRMED: Label(
        "warn",
        _("Outcome unknown"),
        _(
            "It may have arrived or not: the connection broke off before the sender answered. It is not sent again by itself."
        ),
    ),
    State.FAILED: Label("bad", _("Failed"), _("It was not sent. Once the cause is mended it can be sent again here.")),
    State.SKIPPED: Label("", _("Held back"), _("It was right not to send it; the reason stands beside it.")),
    State.MISSED: Label("", _("Too late"), _("Its time had passed before it could go out, so it was left.")),
    State.CANCELLED: Label("", _("Cancelled"), _("It was taken back before it went out.")),
}

REASONS: dict[Reason, Label] = {
    Reason.NO_CONSENT: Label(
        "",
        _("No permission"),
        _("The member has not agreed to such messages, or has said no. Only they can change that."),
    ),
    Reason.SUPPRESSED: Label(
        "",
        _("Address is blocked"),
        _(
            "Messages to this address came back for good, or were reported as spam. The member can give another address in your store."
        ),
    ),
    Reason.NO_ADDRESS: Label(
        "",
        _("No address"),
        _("There is no e-mail address or phone number to write to, or it has changed since. It comes from your store."),
    ),
    Reason.NO_SENDER: Label(
        "warn",
        _("No sender"),
        _(
            "No sender that is set up and switched on could send it. See Connections, or give the journey another channel."
        ),
    ),
    Reason.NO_LONGER_MATCHES: Label(
        "",
        _("No longer fitting"),
        _(
            "What it was about has changed since: a new order, a refund, a corrected birthday, or the member left the group."
        ),
    ),
    Reason.GOAL: Label(
        "",
        _("Goal reached"),
        _("The member has reached the goal of the journey since this was planned, so no more of it is sent to them."),
    ),
    Reason.MEMBER_GONE: Label("", _("Member is gone"), _("The member was deleted in your store.")),
    Reason.JOURNEY_OFF: Label(
        "",
        _("Journey is off"),
        _("The journey was switched off while it waited. Switching it on again begins anew from then."),
    ),
    Reason.JOURNEY_PAUSED: Label(
        "",
        _("Journey is paused"),
        _("The journey was paused; the message waits until it goes on."),
    ),
    Reason.QUIET_HOURS: Label(
        "info",
        _("Quiet hours"),
        _("Messages rest at this hour where the member is. It goes out when the quiet hours end."),
    ),
    Reason.HOLDOUT: Label(
        "",
        _("Held out to compare"),
        _(
            "The journey leaves out some of its members, always the same, so that you can see what it brings. How many stands in it."
        ),
    ),
    Reason.OPEN_CASE: Label(
        "",
        _("Something is not settled"),
        _("The member complained, sent something back or waits for a late parcel. No promotion until that is settled."),
    ),
    Reason.MEMBER_DIAL: Label(
        "",
        _("Member wants fewer"),
        _(
            "The member chose how often they want to hear from you: fewer, only for their birthday, or not before a day."
        ),
    ),
    Reason.DEALT_WITH: Label(
        "",
        _("Dealt with already"),
        _("The journey has dealt with this occasion already, or does not let the member in a second time."),
    ),
    Reason.GREETED: Label(
        "",
        _("Greeted by another journey"),
        _("Another journey about birthdays writes to the member that day. One greeting is enough."),
    ),
    Reason.FREQUENCY_CAP: Label(
        "info",
        _("Enough for now"),
        _(
            "The member has had as many messages as your limits allow. It goes out when there is room, if it is still worth reading."
        ),
    ),
    Reason.BLAST_RADIUS: Label(
        "warn",
        _("Many at once"),
        _(
            "Many messages of this journey are due at once. A small part goes first; if it stands still, let it go on its page."
        ),
    ),
    Reason.AWAITING_ORDERS: Label(
        "info",
        _("Waits for new orders"),
        _("Your store has not been read since this fell due, and the member may have ordered again. See Connections."),
    ),
    Reason.AWAITING_PAYMENT: Label(
        "info",
        _("Order is not paid yet"),
        _("It goes out when the order is paid, if it is still worth reading by then. Nothing needs to be done."),
    ),
    Reason.NO_AUDIENCE: Label(
        "bad",
        _("Audience cannot be asked"),
        _(
            "Who gets it asks for something that is gone. Mend it in the journey: what is still worth reading then goes out."
        ),
    ),
    Reason.WINDOW_OVER: Label(
        "",
        _("Its time has passed"),
        _("It could not go out while it was worth reading. How long that is stands in the journey."),
    ),
    Reason.NO_PUBLIC_URL: Label(
        "warn",
        _("No public address"),
        _("Promotional e-mail needs a link to unsubscribe, and so an address that members can reach. See Connections."),
    ),
    Reason.SENDER_PAUSED: Label(
        "warn",
        _("Sender is paused"),
        _(
            "The sender needs you: see Connections. What waits goes out when it is mended, if it is still worth reading."
        ),
    ),
    Reason.TRANSIENT: Label(
        "warn", _("Sender was busy"), _("The sender could not be reached or asked to wait. Nothing needs to be done.")
    ),
    Reason.TOO_MANY_TRIES: Label(
        "bad",
        _("Tried too often"),
        _("The sender could not be reached each time. Check it under Connections, then send it again."),
    ),
    Reason.REFUSED: Label(
        "bad", _("Address refused"), _("The sender says that this address does not exist or takes nothing.")
    ),
    Reason.OPTED_OUT: Label(
        "",
        _("Said no to the sender"),
        _("The member has told the sender to stop, such as by answering STOP. It is kept as a no here too."),
    ),
    Reason.PERMANENT: Label(
        "bad",
        _("Sender refused it"),
        _("The sender will not take this message as it is. What it said stands with the message."),
    ),
    Reason.RENDER: Label(
        "bad",
        _("Text has a mistake"),
        _("The text could not be filled in for this member. Mend it under Journeys, then send it again here."),
    ),
    Reason.NO_TEMPLATE: Label(
        "bad",
        _("No text"),
        _("The journey has no text for this channel. Write one under Journeys, then send it again here."),
    ),
    Reason.OUTCOME_UNKNOWN: Label(
        "warn",
        _("No answer came"),
        _("It was handed over, but no answer came. Look at the sender's own list, then say here whether it arrived."),
    ),
    Reason.CRASHED: Label(
        "warn",
        _("Interrupted"),
        _("The program stopped while it was sending. Look at the sender's own list, then say here whether it arrived."),
    ),
    Reason.ERROR: Label(
        "bad", _("Unexpected error"), _("Something went wrong that should not. It stands in the log under this time.")
    ),
    Reason.BY_MERCHANT: Label("", _("You decided"), _("Somebody of your shop decided so on this page.")),
}

CHANNELS: dict[str, Any] = {
    "email": _("E-mail"),
    "sms": _("Text message"),
    "inapp": _("In-app message"),
    "note": _("Order note"),
    "webhook": _("Webhook"),
}

# Why an address is never written to.
SUPPRESSIONS: dict[str, Any] = {
    "bounce": _("mail came back for good"),
    "complaint": _("reported as spam"),
    "refused": _("does not exist or takes nothing"),
    "opted_out": _("said no to the sender"),
}

# Where a statement of consent comes from; a platform's own word may follow a colon.
SOURCES: dict[str, Any] = {
    "merchant": _("recorded by you"),
    "link": _("link in a message"),
    "one-click": _("unsubscribe button of the mail program"),
    "file": _("file"),
    "woocommerce": _("WooCommerce"),
    "smtp": _("mail server"),
    "twilio": _("Twilio"),
}

# The place in the platform that a statement was read from.
PLACES: dict[str, Any] = {"order": _("with an order"), "customer": _("in the account")}

ORDERS: dict[OrderStatus, Label] = {
    OrderStatus.PENDING: Label("warn", _("not yet paid"), ""),
    OrderStatus.ON_HOLD: Label("warn", _("on hold"), ""),
    OrderStatus.PAID: Label("good", _("paid"), ""),
    OrderStatus.SHIPPED: Label("good", _("shipped"), ""),
    OrderStatus.COMPLETED: Label("good", _("completed"), ""),
    OrderStatus.REFUNDED: Label("", _("refunded"), ""),
    OrderStatus.CANCELLED: Label("", _("cancelled, does not count"), ""),
    OrderStatus.FAILED: Label("", _("payment failed, does not count"), ""),
    OrderStatus.DRAFT: Label("", _("draft, does not count"), ""),
    OrderStatus.TRASH: Label("", _("in the trash, does not count"), ""),
    OrderStatus.TEST: Label("", _("test, does not count"), ""),
    OrderStatus.UNKNOWN: Label("", _("other state"), ""),
}

# What WooCommerce tells of a customer besides; any other name stands as the store or the file has it.
ATTRIBUTES: dict[str, Any] = {
    "role": _("Role in the store"),
    "company": _("Company"),
    "city": _("City"),
    "postcode": _("Postcode"),
    "birthday_unread": _("Birthday, as told"),
}

EVENTS: dict[Told, Label] = {
    Told.QUEUED: Label("info", _("The sender has queued it"), ""),
    Told.SENT: Label("info", _("The sender has passed it on"), ""),
    Told.DELIVERED: Label("good", _("It arrived"), ""),
    Told.DEFERRED: Label("warn", _("The other side asked to wait"), ""),
    Told.BOUNCED: Label("bad", _("It came back"), ""),
    Told.REJECTED: Label("bad", _("The sender refused it"), ""),
    Told.FAILED: Label("bad", _("The sender could not deliver it"), ""),
    Told.OPENED: Label("info", _("It was opened"), ""),
    Told.CLICKED: Label("good", _("A link in it was followed"), ""),
    Told.COMPLAINED: Label("bad", _("It was reported as spam"), ""),
    Told.UNSUBSCRIBED: Label("warn", _("The member unsubscribed"), ""),
    Told.UNKNOWN: Label("", _("Something the sender has no common word for"), ""),
}


def state(word: str) -> Label:
    """The label of a touchpoint's state."""
    return STATES[State(word)]


def reason(word: str) -> Label | None:
    """The label of a reason; None where there is none. A word nobody knows any more stands for itself."""
    if not word:
        return None
    return REASONS[Reason(word)] if word in list(Reason) else Label("", word, "")


def channel_name(word: str) -> Any:
    """A channel as people call it."""
    return CHANNELS.get(word, word)


def sender_name(adapter: str) -> str:
    """A sender as its provider spells it; links of our own tell as senders do."""
    if adapter == LINK:
        return str(_("a link of our own"))
    return channel_class(adapter).label if is_channel(adapter) else adapter


def source_name(word: str) -> str:
    """Where a statement comes from, such as "WooCommerce (order)"."""
    name, _colon, place = word.partition(":")
    told = str(SOURCES.get(name, name))
    return f"{told} ({PLACES.get(place, place)})" if place else told


def suppression(word: str) -> Any:
    """Why an address is blocked."""
    return SUPPRESSIONS.get(word, word)


def attribute(name: str) -> Any:
    """What an attribute of a member is called."""
    return ATTRIBUTES.get(name, name)


def order_status(word: str) -> Label:
    """The label of an order's state."""
    return ORDERS[OrderStatus(word)]


def event(word: str) -> Label:
    """The label of what a provider told."""
    return EVENTS[Told(word)]
