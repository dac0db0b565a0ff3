"""What the kit asks of a made-up store: to hold samples, to answer as the platform does, and to be in trouble when told."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from random import Random
from typing import Any, ClassVar

import requests

from crm_plugin.adapters.testing.edge import OF_THE_PLATFORM, Answered, Asked, NoAnswer, Trouble, common_answer
from crm_plugin.adapters.testing.faults import MISSING, REPEATED, Faults
from crm_plugin.adapters.testing.samples import NOW, Sample
from crm_plugin.records import RawRequest, StoreEventKind, Stream


class Trait(StrEnum):
    """What a platform has that others have not, beyond the adapter's capabilities."""

    # Orders without an account, known by an e-mail.
    GUESTS = "guests"
    TEST_ORDERS = "test_orders"
    # Accounts that are made one with another.
    MERGES = "merges"
    # Records that are gone for good.
    REMOVES = "removes"
    # Messages are fetched and confirmed (`poll`).
    POLLS = "polls"
    # Times are told with fractions of a second.
    FRACTIONS = "fractions"
    # A webhook says whether our own write caused it.
    ECHOES = "echoes"
    # A webhook says when it happened.
    EVENT_TIMES = "event_times"
    # A key may lack one right and have all others, which is told apart from one that is not allowed in at all.
    PERMISSIONS = "permissions"
    # What is under our common address must say which store it speaks of.
    COMMON_ADDRESS = "common_address"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """An event that the store is to tell. `number` makes it another one than one told before; `elsewhere`: one of another store.

    Who is to be exported or erased is the account `external_id`.
    """

    kind: StoreEventKind
    stream: Stream | None = None
    external_id: str = ""
    into: str = ""
    at: datetime = NOW
    number: int = 1
    own: bool = False
    elsewhere: bool = False


class Store(ABC):
    """A made-up store. A subclass answers requests as the platform does, strictly, from what `put` and `remove` left in it.

    All calls of the adapter come through `handle`: over `responses`, of which `respond` is a callback, or over a real connection (`serve`).
    """

    traits: ClassVar[frozenset[Trait]] = frozenset({Trait.GUESTS, Trait.REMOVES})
    # The kinds of events that it tells by webhook or message.
    tells: ClassVar[frozenset[StoreEventKind]] = frozenset()
    # The first is the store's own; in the others it sells too.
    currencies: ClassVar[tuple[str, ...]] = ("EUR",)
    # Records that the adapter, as the kit opens it, asks for at a time.
    page_size: ClassVar[int] = 10
    # What must never be told, such as keys and signatures.
    secrets: ClassVar[tuple[str, ...]] = ()

    def __init__(self) -> None:
        # The clock of the store, and of the adapter as the kit opens it.
        self.now: datetime = NOW
        # Where it is on a real connection; empty while it is not.
        self.served_at = ""
        self.asked: list[Asked] = []
        self.faults: Faults | None = None
        self._troubles: list[Trouble] = []
        self._lasting: Trouble | None = None
        self._before: dict[str, Answered] = {}
        self._spoilt = ""

    @property
    def calls(self) -> int:
        """How many requests came."""
        return len(self.asked)

    def fail(self, trouble: Trouble, times: int | None = None) -> None:
        """Be in trouble for so many calls; None until `heal`."""
        if times is None:
            self._lasting = trouble
        else:
            self._troubles += [trouble] * times

    def heal(self) -> None:
        """Be well again."""
        self._troubles.clear()
        self._lasting = self.faults = None

    def begin_reading(self) -> None:
        """Somebody begins to read: no page of before is repeated to them."""
        self._before.clear()

    @abstractmethod
    def put(self, sample: Sample, external_id: str = "") -> str:
        """Take the sample in, in place of the record of that id where one is named. Answers its id as the adapter tells it.

        Money that was given back for an order stays when the order is put again.
        """

    @abstractmethod
    def remove(self, stream: Stream, external_id: str) -> None:
        """Let a record be gone for good."""

    @abstractmethod
    def spoil(self, stream: Stream, external_id: str) -> None:
        """Make a record one that cannot be read: a field of another type than it must have, its id untouched."""

    @abstractmethod
    def mend(self, stream: Stream, external_id: str) -> None:
        """Make a spoilt record as it was."""

    @abstractmethod
    def answer(self, asked: Asked) -> Answered:
        """Answer as the platform does when all is well. Strict: what is not signed, or asked wrongly, is refused."""

    def refusal(self, trouble: Trouble, asked: Asked) -> Answered | None:
        """The platform's own words for a trouble of its own; None where this request does not meet it. Default: bare 401 and 403."""
        if trouble is Trouble.READ_ONLY and asked.method == "GET":
            return None
        return common_answer(trouble, self.secret, self.now)

    def list_of(self, asked: Asked) -> str:
        """The name of the list that a request walks, the same for each of its pages; empty where it walks none."""
        return "" if asked.method != "GET" else asked.path

    def missing(self, asked: Asked, answered: Answered, dice: Random) -> Answered | None:
        """The same page on a bad day, without its rows or some of them, as the platform would have it; None where that cannot be."""
        del asked, answered, dice
        return None

    def change_unseen(self, what: str) -> tuple[Stream, str]:
        """Make the change that the adapter's `unseen` names, some time after `now`, without the time of change moving.

        Answers whose record is another now.
        """
        raise NotImplementedError(what)

    def merge(self, external_id: str, into: str) -> None:
        """Make one account one with another."""
        raise NotImplementedError

    def hook(self, told: Told) -> RawRequest:
        """The request by which the store tells the event, signed; UNKNOWN is a topic of tomorrow."""
        raise NotImplementedError

    def signed(self, body: bytes) -> RawRequest:
        """Any body, of a topic that is known, with a signature that is right."""
        raise NotImplementedError

    def queue(self, told: Told) -> None:
        """Let the event wait to be fetched."""
        raise NotImplementedError

    def coupons(self) -> list[str]:
        """The codes that are in the store; one that is there twice is told twice."""
        raise NotImplementedError

    @property
    def secret(self) -> str:
        """One of the secrets."""
        return self.secrets[0] if self.secrets else "sesame-77f1c0"

    def handle(self, asked: Asked) -> Answered:
        """Answer, or be in trouble. Raises: NoAnswer."""
        self.asked.append(asked)
        trouble = self._troubles.pop(0) if self._troubles else self._lasting
        if trouble is None and self.faults is not None:
            return self._on_a_bad_day(asked, self.faults)
        return self._in(trouble, asked) if trouble is not None else self.answer(asked)

    def respond(self, request: requests.PreparedRequest) -> tuple[int, Mapping[str, str], Any]:
        """The same as a callback of `responses`; add it with `content_type=None`. Raises: what requests raises without an answer."""
        body = request.body or b""
        asked = Asked(
            str(request.method),
            str(request.url),
            {name.lower(): str(value) for name, value in request.headers.items()},
            body if isinstance(body, bytes) else str(body).encode(),
        )
        try:
            answered = self.handle(asked)
        except NoAnswer as error:
            kind = requests.ReadTimeout if error.late else requests.ConnectionError
            raise kind("no answer") from error
        sent = io.BufferedReader(_Spaces()) if answered.endless else answered.arriving
        length = {"Content-Length": str(len(answered.body))} if answered.cut else {}
        return answered.status, {**answered.headers, **length}, sent

    def _in(self, trouble: Trouble, asked: Asked) -> Answered:
        if trouble in OF_THE_PLATFORM:
            return self.refusal(trouble, asked) or self.answer(asked)
        if trouble is Trouble.SILENT:
            self.answer(asked)
            raise NoAnswer
        if trouble is Trouble.TRUNCATED:
            return replace(self.answer(asked), cut=True)
        return common_answer(trouble, self.secret, self.now)

    def _on_a_bad_day(self, asked: Asked, faults: Faults) -> Answered:
        faults.stir()
        name = self.list_of(asked)
        fault = faults.draw(is_list=bool(name))
        if isinstance(fault, Trouble):
            return self._in(fault, asked)
        answered = self.answer(asked)
        if not name or answered.status != 200:
            return answered
        before = self._before.get(name)
        self._before[name] = answered
        # Once: when the same list is asked right afterwards, it tells the truth.
        was_spoilt, self._spoilt = self._spoilt == name, ""
        spoilt = None
        if not was_spoilt and fault == REPEATED:
            spoilt = before
        elif not was_spoilt and fault == MISSING:
            spoilt = self.missing(asked, answered, faults.dice)
        if spoilt is not None:
            self._spoilt = name
        return spoilt or answered


class _Spaces(io.RawIOBase):
    """Spaces without end."""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        buffer[:] = b" " * len(buffer)
        return len(buffer)
