"""What we write into a store: levels, tags, consent and coupons. Each form is declared by a capability; what is not is refused aloud."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import ClassVar

from crm_plugin.adapters.base import Adapter, Capability, Problem
from crm_plugin.errors import ActionRequired, AdapterError, TransientError, UnsupportedFeature
from crm_plugin.phrases import phrase
from crm_plugin.records import ConsentRecord, CouponMade, CouponOrder, TierMark, TierWrite, TierWritten

# In what form a store holds a member's level. A storefront without any of these cannot, and says so by that.
TIER_FORMS = frozenset({Capability.TIER_TAG, Capability.TIER_GROUP, Capability.TIER_GRADE, Capability.TIER_METAFIELD})


@dataclass(frozen=True, slots=True)
class Allowance:
    """So many writes a day, and the zone in which the day ends."""

    a_day: int
    timezone: str


@dataclass(frozen=True, slots=True)
class StoreGrade:
    """A grade that the store has by itself, counted from 1: it gives it from a sum of orders (minor units) or from a number of them on.

    `level` is ours that it stands for, empty for none; `percent_off` what it takes off. None for what is not told, or not set.
    """

    number: int
    name: str = ""
    level: str = ""
    least_minor: int | None = None
    least_orders: int | None = None
    percent_off: Decimal | None = None


class Writes(Adapter):
    """The part of a storefront that writes. Every call is safe to repeat: done twice it is as done once.

    All raise PermanentError (with the code "gone" for an account that is no longer there), TransientError, ActionRequired, and
    UnsupportedFeature for what the capabilities do not declare.
    """

    # Levels. A storefront that declares one of `TIER_FORMS` fills `write_tier`, or `write_tiers` where the store takes many at once, and
    # tells each account's marks in `MemberRecord.marks`, apart from its tags and attributes.

    # How many marks one call takes.
    tiers_at_once: ClassVar[int] = 1
    # How many grades the store has by itself that can be set from here; 0 for none.
    most_grades: ClassVar[int] = 0
    # How many codes one call takes, and whether whoever has a code may use it; where not, each is made for its member.
    coupons_at_once: ClassVar[int] = 1
    codes_for_anybody: ClassVar[bool] = True

    @classmethod
    def holds_tiers(cls) -> bool:
        """Whether the store can hold a member's level."""
        return bool(cls.capabilities & TIER_FORMS)

    def tier_allowance(self) -> Allowance | None:
        """How many marks may be written a day, of what the platform lets an app do; the others wait. Default: as many as there are."""
        return None

    def check_tiers(self) -> list[Problem]:
        """A cheap probe whether marks may be written, without writing any; an empty list means yes. Default: nothing to ask."""
        return []

    def write_tier(self, reference: str, mark: TierMark) -> datetime | None:
        """Bring one account's mark of that programme to this level. Returns: the store's own time of the change, where it tells one.

        Default: by `write_tiers`, where that is filled.
        """
        if type(self).write_tiers is Writes.write_tiers:
            raise self._cannot(phrase("%(platform)s cannot hold a member's level.", platform=self.label), "write_tier")
        (done,) = self.write_tiers([TierWrite(reference, mark)])
        if done.error is not None:
            raise done.error
        return done.changed_at

    def write_tiers(self, writes: Sequence[TierWrite]) -> list[TierWritten]:
        """The same for at most `tiers_at_once`, answered in their order. What stops the store altogether may be raised, or told of each.

        Default: one after the other; after a refusal that would meet the others too, they are not tried.
        """
        done: list[TierWritten] = []
        stopped: AdapterError | None = None
        for write in writes:
            if stopped is None:
                try:
                    done.append(TierWritten(write.reference, self.write_tier(write.reference, write.mark)))
                    continue
                except AdapterError as error:
                    stopped = error if isinstance(error, (TransientError, ActionRequired)) else None
                    done.append(TierWritten(write.reference, error=error))
            else:
                done.append(TierWritten(write.reference, error=stopped))
        return done

    def grades(self) -> list[StoreGrade]:
        """The grades that are in use in the store, the lowest first."""
        raise self._cannot(
            phrase("There are no grades of %(platform)s that could be set from here.", platform=self.label), "grades"
        )

    def set_grades(self, wanted: Sequence[StoreGrade]) -> None:
        """Set the store's grades to these, from 1 on without a gap; the others are no longer used. Only on a person's word."""
        raise self._cannot(
            phrase("There are no grades of %(platform)s that could be set from here.", platform=self.label),
            "set_grades",
        )

    def write_tags(self, reference: str, add: Collection[str], remove: Collection[str]) -> None:
        """Put these tags on an account and take those off; tags of others stay."""
        raise self._cannot(phrase("%(platform)s keeps no tags.", platform=self.label), "write_tags")

    def write_consent(self, reference: str, consent: ConsentRecord) -> None:
        """Tell the store what a member said here. `consent.at` is the true moment; a store that knows a newer word keeps its own."""
        raise self._cannot(phrase("%(platform)s takes no consent.", platform=self.label), "write_consent")

    def create_coupons(self, order: CouponOrder) -> list[CouponMade]:
        """Make at most `coupons_at_once` codes, answered in their order. A code that is there already for this very order is made.

        A store that cannot bind codes to accounts makes them for everybody and says so in `is_restricted`.
        """
        raise self._cannot(phrase("%(platform)s makes no coupons for us.", platform=self.label), "create_coupons")

    def _cannot(self, why: str, operation: str) -> UnsupportedFeature:
        return UnsupportedFeature(why, adapter=self.name, operation=operation)
