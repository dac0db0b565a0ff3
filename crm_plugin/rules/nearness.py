"""How near members are to the next level of a tier programme, and what is at risk: by what the policy asks from step to step."""

from __future__ import annotations

from sqlalchemy import BigInteger, ColumnElement, Integer, and_, case, false, func, literal, not_, or_, type_coerce

from crm_plugin.clock import day_number
from crm_plugin.rules.nodes import Field, Step
from crm_plugin.rules.operands import Counted, Flag, Operand, Quotient, Whole, Words
from crm_plugin.rules.spec import Scope
from crm_plugin.rules.windows import PROGRAM

# How many days before its end a level is looked at as being at risk, where nothing is said.
USUAL_DAYS = 30


def program_of(field: Field) -> str:
    """The programme a field speaks of."""
    return str(field.arg("program") or PROGRAM)


def steps_of(field: Field) -> tuple[Step, ...]:
    """What was looked up for the field."""
    if field.steps is None:
        raise TypeError("a policy has to be looked up before it is asked, see rules/book.py")
    return field.steps


def next_level(scope: Scope, field: Field) -> Operand:
    """The key of the next level, empty at the top."""
    held = scope.tier(program_of(field))
    whens = [(held == step.level, literal(step.above)) for step in steps_of(field) if step.above]
    return Words(case(*whens, else_=literal("")) if whens else literal(""))


def missing(scope: Scope, field: Field) -> Operand:
    """The entry of the next level less what is measured, 0 where it is reached."""
    # What calculates is built on the catalogue that this is part of.
    from crm_plugin.rules.sql import calculated

    held = scope.tier(program_of(field))
    found = [(held == step.level, calculated(scope, step.missing)) for step in steps_of(field) if step.missing]
    if not found:
        return Counted(Quotient(literal(0, BigInteger), literal(0, BigInteger)))
    top = case(*((here, one.top) for here, one in found))
    bottom = case(*((here, one.bottom) for here, one in found), else_=literal(0, BigInteger))
    return Counted(Quotient(case((top < 0, literal(0, BigInteger)), else_=top), bottom))


def ends_in(scope: Scope, field: Field) -> Operand:
    """Days until the term and its grace, or what was fixed by hand, are over."""
    return Whole(_ends(scope, field) - day_number(scope.as_of))


def in_grace(scope: Scope, field: Field) -> Operand:
    """Whether the days of grace have begun."""
    return Flag(_in_grace(scope, field))


def at_risk(scope: Scope, field: Field) -> Operand:
    """In grace, or near the end with what keeps the level not holding."""
    from crm_plugin.rules.sql import truth

    held, ends = scope.tier(program_of(field)), _ends(scope, field)
    lost = [
        and_(held == step.level, not_(func.coalesce(truth(scope, step.keep), false())))
        for step in steps_of(field)
        if step.keep is not None
    ]
    for_good = and_(_fixed(scope, field), ends.is_(None))
    near = or_(ends.is_(None), ends - day_number(scope.as_of) < days_of(field))
    return Flag(or_(_in_grace(scope, field), and_(not_(for_good), near, or_(false(), *lost))))


def days_of(field: Field) -> int:
    """How near the end counts as near."""
    within = field.arg("within")
    return USUAL_DAYS if within is None else int(within)


def _ends(scope: Scope, field: Field) -> ColumnElement[int]:
    program = program_of(field)
    fixed_until = type_coerce(scope.held(program, "fixed_until"), Integer)
    grace_until = type_coerce(scope.held(program, "grace_until"), Integer)
    return case((_fixed(scope, field), fixed_until), else_=grace_until)


def _fixed(scope: Scope, field: Field) -> ColumnElement[bool]:
    return func.coalesce(scope.held(program_of(field), "fixed"), false())


def _in_grace(scope: Scope, field: Field) -> ColumnElement[bool]:
    return func.coalesce(scope.held(program_of(field), "in_grace"), false())
