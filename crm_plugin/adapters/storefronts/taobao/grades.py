"""The shop's grades 1 to 4: what is set for them, and our levels brought into members as one of them.

Taobao holds one grade a member, so one programme's levels are held; which level is which grade the merchant says, and each has its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from crm_plugin.adapters.base import Problem, Severity
from crm_plugin.adapters.raw import FieldError, read_record
from crm_plugin.adapters.storefronts.base import StoreGrade
from crm_plugin.adapters.storefronts.taobao.client import TopClient
from crm_plugin.adapters.storefronts.taobao.envelope import ADAPTER
from crm_plugin.adapters.storefronts.taobao.mapping import BLACKLIST
from crm_plugin.adapters.storefronts.taobao.members import Members
from crm_plugin.adapters.storefronts.taobao.payloads import GRADE, MEMBER, Id
from crm_plugin.adapters.storefronts.taobao.values import CURRENCY, fen, in_yuan, whole
from crm_plugin.errors import ActionRequired, AdapterError, InvalidInput, PermanentError
from crm_plugin.phrases import phrase
from crm_plugin.records import TierMark

GET = "taobao.crm.grade.get"
SET = "taobao.crm.grade.set"
UPDATE = "taobao.crm.memberinfo.update.privy"
HIGHEST = 4
# Who is a member and has no level of ours: Taobao takes nobody back to being no member.
PLAIN = 1
# A discount is told as what is left of the price, per mille.
_FULL = 1000


@dataclass(frozen=True, slots=True)
class Grade:
    """What the shop has set for one grade; `next_minor` (fen) and `next_count` raise a member to the next by Taobao itself, 0 for never."""

    number: int
    name: str
    next_minor: int = 0
    next_count: int = 0
    percent_off: Decimal = Decimal(0)


def levels_of(text: str) -> dict[int, str]:
    """Our level by its grade, out of "silver=2, gold=3". Raises: InvalidInput for what is no such list."""
    found: dict[int, str] = {}
    for part in filter(None, (part.strip() for part in text.replace("，", ",").split(","))):
        level, _, number = (piece.strip() for piece in part.partition("="))
        grade = whole(number)
        if not level or grade is None or not PLAIN <= grade <= HIGHEST or grade in found or level in found.values():
            raise InvalidInput(
                phrase("%(part)r does not give a level a grade of its own from 1 to 4.", part=part),
                field="grades",
                hint=phrase("Write levels and grades as silver=2, gold=3."),
            )
        found[grade] = level
    return found


class Grades:
    """Reads what is set, and writes grades into members."""

    def __init__(self, client: TopClient, members: Members, program: str, levels: Mapping[int, str]) -> None:
        self._client = client
        self._members = members
        self._program = program
        self._levels = levels

    def read(self, attempts: int = 2) -> list[Grade]:
        """What the shop has set, by grade."""
        rows = self._client.call(GET, attempts=attempts).rows("grade_promotions", "grade_promotion")
        found: list[Grade] = []
        for row in (read_record(GRADE, raw, adapter=ADAPTER) for raw in rows):
            number, name = _either(row.cur_grade, row.cur_grade_name)
            try:
                amount = fen(row.next_upgrade_amount, "$.next_upgrade_amount") or 0
            except FieldError:
                amount = 0
            off = (_FULL - (whole(row.discount) or _FULL)) / Decimal(10)
            found.append(Grade(number, name, amount, whole(row.next_upgrade_count) or 0, off))
        return sorted(found, key=lambda grade: grade.number)

    def told(self) -> list[StoreGrade]:
        """The grades that are in use: Taobao tells what raises members to one with the grade below it."""
        rows = {grade.number: grade for grade in self.read()}
        found: list[StoreGrade] = []
        for number in range(PLAIN, HIGHEST + 1):
            below, own = rows.get(number - 1, Grade(number - 1, "")), rows.get(number)
            if own is not None or below.next_minor or below.next_count:
                amount, count = below.next_minor or None, below.next_count or None
                level, name = self._levels.get(number, ""), "" if own is None else own.name
                found.append(StoreGrade(number, name, level, amount, count, None if own is None else own.percent_off))
        return found

    def set(self, wanted: Sequence[StoreGrade]) -> None:
        """Set what raises members to each grade and what it takes off, one after the other from 1. Twice is as once.

        The documents say that amounts count towards the next grade, and their example that the first of them makes a member grade 1: the
        example is followed.
        """
        last, by_count = wanted[-1].number, wanted[0].least_orders is not None
        least = [one.least_orders if by_count else one.least_minor for one in wanted]
        told = {
            "grade": _listed(one.number for one in wanted),
            "discount": _listed(_FULL - int((one.percent_off or Decimal(0)) * 10) for one in wanted),
            "hierarchy": _listed("true" if number <= last else "false" for number in range(PLAIN, HIGHEST + 1)),
            "count" if by_count else "amount": _listed(least),
        }
        if not self._client.call(SET, told).flag("is_success"):
            raise PermanentError(phrase("Taobao did not take the grades."), adapter=ADAPTER, operation=SET)

    def check(self) -> list[Problem]:
        """Whether grades may be written: a change of nobody is asked for, and the gateway looks at our rights first."""
        if not self._levels:
            refused = self._without_mapping()
            return [Problem(refused.code, refused.message, refused.hint)]
        try:
            self._client.call(UPDATE, attempts=1)
        except PermanentError:
            # Nobody was named, which is what we wanted to hear.
            return self._raised_by_taobao()
        except AdapterError as error:
            return [Problem(error.code, error.message, error.hint)]
        return self._raised_by_taobao()

    def write(self, ouid: str, mark: TierMark) -> None:
        """Bring a member to the grade of this level; without a level, away from a grade of ours. Twice is as once."""
        if not self._levels:
            raise self._without_mapping()
        wanted = self._wanted(mark)
        raw = self._members.row(ouid, attempts=1)
        if raw is None:
            raise self._refused(phrase("This account is no longer in the store."), "gone")
        member = read_record(MEMBER, raw, adapter=ADAPTER)
        present = whole(member.grade) or 0
        if present == wanted or (not mark.level and present not in self._levels):
            return
        if member.status == BLACKLIST:
            raise self._refused(phrase("Taobao gives no grade to members on the shop's blacklist."), "blacklist")
        # The status stands beside it as it is, for one that is left out might be put back to normal.
        asked = {"ouid": ouid, "grade": wanted, "status": member.status}
        if not self._client.call(UPDATE, asked, attempts=1).flag("is_success"):
            raise self._refused(phrase("Taobao did not take the grade."))

    def _wanted(self, mark: TierMark) -> int:
        if mark.program != self._program:
            message = phrase(
                "Taobao holds one grade a member, and that is for the programme %(program)s.", program=self._program
            )
            raise self._refused(message, "other_program")
        if mark.level:
            wanted = next((grade for grade, level in self._levels.items() if level == mark.level), None)
            if wanted is None:
                raise ActionRequired(
                    phrase("No grade of Taobao stands for the level %(level)s.", level=mark.level),
                    hint=phrase("Give each level a grade in the settings of the store."),
                    code="level_without_grade",
                    adapter=ADAPTER,
                    operation=UPDATE,
                )
            return wanted
        if PLAIN in self._levels:
            message = phrase("Grade 1 stands for a level of ours, so nobody can be brought to none.")
            raise self._refused(message, "no_plain_grade")
        return PLAIN

    def _raised_by_taobao(self) -> list[Problem]:
        """That Taobao raises members by itself, against our levels."""
        raising = [grade for grade in self.read(attempts=1) if grade.next_minor or grade.next_count]
        if not raising:
            return []
        first = raising[0]
        told = phrase(
            "Taobao raises members by itself too: from grade %(grade)s at %(amount)s %(currency)s or %(count)s orders.",
            grade=first.number,
            amount=in_yuan(first.next_minor),
            currency=CURRENCY,
            count=first.next_count,
        )
        hint = phrase(
            "Switch that off in the seller's console, or such members are brought back to the level they have here."
        )
        return [Problem("raised_by_taobao", told, hint, Severity.INFO)]

    def _without_mapping(self) -> ActionRequired:
        return ActionRequired(
            phrase("It is not said which level is which grade of Taobao."),
            hint=phrase("Give each level a grade in the settings of the store."),
            code="no_grades",
            adapter=ADAPTER,
            operation=UPDATE,
        )

    @staticmethod
    def _refused(message: str, code: str = "permanent") -> PermanentError:
        return PermanentError(message, code=code, adapter=ADAPTER, operation=UPDATE)


def _listed(values: Iterable[object]) -> str:
    return ",".join(str(value) for value in values)


def _either(one: Id | None, other: Id | None) -> tuple[int, str]:
    """A grade's number and name out of two fields that tell them in either order."""
    number = next((found for told in (one, other) if (found := whole(told)) is not None), 0)
    name = next((str(told) for told in (other, one) if told not in (None, "") and whole(told) is None), "")
    return number, name
