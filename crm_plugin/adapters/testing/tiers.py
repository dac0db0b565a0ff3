"""What every storefront keeps that writes levels back: part of the kit, and to be had apart by a class that fills its fixtures."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from crm_plugin.adapters.storefronts.base import TIER_FORMS, StorefrontAdapter
from crm_plugin.adapters.testing.cases import case
from crm_plugin.errors import ActionRequired, PermanentError, TransientError, UnsupportedFeature
from crm_plugin.records import MemberRecord, Stream, TierMark, TierWrite

GOLD = TierMark("main", "gold", "Gold", 2)
SILVER = TierMark("main", "silver", "Silver", 1)
CLUB = TierMark("club-2", "friend", "Friend", 0)
NOTHING = TierMark("main", "")


class NoTiersContract:
    """A storefront that cannot hold levels says so, and drops nothing in silence."""

    @pytest.fixture
    def storefront(self) -> StorefrontAdapter:
        raise NotImplementedError

    def test_writing_is_refused(self, storefront: StorefrontAdapter) -> None:
        assert not storefront.holds_tiers()
        with pytest.raises(UnsupportedFeature, match="cannot hold"):
            storefront.write_tier("1", GOLD)
        (done,) = storefront.write_tiers([TierWrite("1", GOLD)])
        assert isinstance(done.error, UnsupportedFeature)


class TierContract:
    """`references` are two accounts that are there, `missing` one that is not; `fail` makes the next calls fail in the given way."""

    @pytest.fixture
    def storefront(self) -> StorefrontAdapter:
        raise NotImplementedError

    @pytest.fixture
    def references(self) -> tuple[str, str]:
        raise NotImplementedError

    @pytest.fixture
    def missing(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def fail(self) -> Callable[[str], None]:
        """By name: "busy" (asks to come again in 40 seconds), "down", "silent" (done, but no answer), "read_only"."""
        raise NotImplementedError

    def _record(self, storefront: StorefrontAdapter, reference: str) -> MemberRecord:
        record = storefront.reread(Stream.MEMBERS, reference)
        assert isinstance(record, MemberRecord)
        return record

    def _bare(self, record: MemberRecord) -> MemberRecord:
        return msgspec.structs.replace(record, marks=None, updated_at=None)

    @case(TIER_FORMS)
    def test_declares_a_form(self, storefront: StorefrontAdapter) -> None:
        assert storefront.holds_tiers()
        assert len(storefront.capabilities & TIER_FORMS) == 1
        readme = (Path(inspect.getfile(type(storefront))).parent / "README.md").read_text(encoding="utf-8")
        assert "level" in readme

    @case(TIER_FORMS)
    def test_probe_writes_nothing(self, storefront: StorefrontAdapter, references: tuple[str, str]) -> None:
        before = self._record(storefront, references[0])
        assert storefront.check_tiers() == []
        assert self._record(storefront, references[0]) == before

    @case(TIER_FORMS)
    def test_mark_is_told_apart_from_the_member(
        self, storefront: StorefrontAdapter, references: tuple[str, str]
    ) -> None:
        before = self._record(storefront, references[0])
        assert before.marks == {}
        storefront.write_tier(references[0], GOLD)
        after = self._record(storefront, references[0])
        assert after.marks == {"main": "gold"}
        assert self._bare(after) == self._bare(before)
        assert self._record(storefront, references[1]).marks == {}

    @case(TIER_FORMS)
    def test_twice_is_as_once(self, storefront: StorefrontAdapter, references: tuple[str, str]) -> None:
        for _ in range(2):
            storefront.write_tier(references[0], GOLD)
            assert self._record(storefront, references[0]).marks == {"main": "gold"}
        for _ in range(2):
            storefront.write_tier(references[0], NOTHING)
            assert self._record(storefront, references[0]).marks == {}

    @case(TIER_FORMS)
    def test_level_takes_the_place_of_the_one_before(
        self, storefront: StorefrontAdapter, references: tuple[str, str]
    ) -> None:
        for mark in (GOLD, CLUB, SILVER):
            storefront.write_tier(references[0], mark)
        assert self._record(storefront, references[0]).marks == {"main": "silver", "club-2": "friend"}
        storefront.write_tier(references[0], NOTHING)
        assert self._record(storefront, references[0]).marks == {"club-2": "friend"}

    @case(TIER_FORMS)
    def test_time_told_is_the_accounts(self, storefront: StorefrontAdapter, references: tuple[str, str]) -> None:
        changed_at = storefront.write_tier(references[0], GOLD)
        if changed_at is not None:
            assert self._record(storefront, references[0]).updated_at == changed_at

    @case(TIER_FORMS)
    def test_many_are_answered_in_their_order(
        self, storefront: StorefrontAdapter, references: tuple[str, str], missing: str
    ) -> None:
        one, other = references
        writes = [TierWrite(other, SILVER), TierWrite(missing, GOLD), TierWrite(one, GOLD), TierWrite(other, CLUB)]
        done = storefront.write_tiers(writes)
        assert [entry.reference for entry in done] == [other, missing, one, other]
        assert [entry.error is None for entry in done] == [True, False, True, True]
        assert self._record(storefront, one).marks == {"main": "gold"}
        assert self._record(storefront, other).marks == {"main": "silver", "club-2": "friend"}

    @case(TIER_FORMS)
    def test_missing_account_is_gone(self, storefront: StorefrontAdapter, missing: str) -> None:
        with pytest.raises(PermanentError) as caught:
            storefront.write_tier(missing, GOLD)
        assert caught.value.code == "gone"
        (done,) = storefront.write_tiers([TierWrite("no-id-of-this-store", GOLD)])
        assert done.error is not None
        assert done.error.code == "gone"

    @case(TIER_FORMS)
    def test_pause_that_is_asked_for_is_told(
        self, storefront: StorefrontAdapter, references: tuple[str, str], fail: Callable[[str], None]
    ) -> None:
        fail("busy")
        with pytest.raises(TransientError) as caught:
            storefront.write_tier(references[0], GOLD)
        assert caught.value.retry_after == 40

    @case(TIER_FORMS)
    @pytest.mark.parametrize("how", ["down", "silent"])
    def test_no_answer_passes(
        self, storefront: StorefrontAdapter, references: tuple[str, str], fail: Callable[[str], None], how: str
    ) -> None:
        fail(how)
        with pytest.raises(TransientError):
            storefront.write_tier(references[0], GOLD)

    @case(TIER_FORMS)
    def test_key_that_only_reads_is_for_the_merchant(
        self, storefront: StorefrontAdapter, references: tuple[str, str], fail: Callable[[str], None]
    ) -> None:
        fail("read_only")
        with pytest.raises(ActionRequired) as caught:
            storefront.write_tier(references[0], GOLD)
        assert caught.value.hint
        assert [problem.code for problem in storefront.check_tiers()] == [caught.value.code]
