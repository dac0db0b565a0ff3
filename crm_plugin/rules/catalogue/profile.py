"""Who a member is: what the store's account says, and what is attached to it."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Integer, and_, case, func, type_coerce

from crm_plugin.birthdays import LEAP, LUNAR, passed
from crm_plugin.clock import day_number
from crm_plugin.rules.catalogue.common import PLAIN_SPAN, text_of
from crm_plugin.rules.nodes import Field
from crm_plugin.rules.operands import DaysSince, Flag, Loose, Operand, Whole, Words
from crm_plugin.rules.rows import events_of, tags_of
from crm_plugin.rules.spec import KNOWN, ZERO, FieldSpec, Kind, Moves, Parameter, Scope, Source, Text, Unit
from crm_plugin.rules.windows import window_of

_PROFILE = (Source.PROFILE,)
_NOT_TOLD = Text("Unknown when the store does not tell.", "店铺未提供时为未知。")
# Where the numbers of the next kind of birthday begin.
_NEXT = {0: LUNAR, LUNAR: LEAP, LEAP: 2 * LEAP}
_NAME = Parameter("name", str, Text("name of the attribute", "属性名称"), positional=True)


def _told(column: str) -> Callable[[Scope, Field], Operand]:
    return lambda scope, _field: Words(func.nullif(scope.member(column), ""))


def _since_joined(scope: Scope, _field: Field) -> Operand:
    return DaysSince(type_coerce(scope.member("joined_on"), Integer), day_number(scope.as_of))


def _birthday_month(scope: Scope, _field: Field) -> Operand:
    md = scope.member("birth_md")
    return Whole(case((md < LUNAR, md // 100)))


def _birthday_day(scope: Scope, _field: Field) -> Operand:
    md = scope.member("birth_md")
    return Whole(case((md < LUNAR, func.nullif(md % 100, 0))))


def _lunar_month(scope: Scope, _field: Field) -> Operand:
    md = scope.member("birth_md")
    return Whole(case((md >= LUNAR, md % LUNAR // 100)))


def _lunar_day(scope: Scope, _field: Field) -> Operand:
    md = scope.member("birth_md")
    return Whole(case((md >= LUNAR, func.nullif(md % 100, 0))))


def _age(scope: Scope, _field: Field) -> Operand:
    md, year, at = func.coalesce(scope.member("birth_md"), 0), scope.member("birth_year"), passed(scope.as_of)
    # With the month alone, the year is full when the month begins, as birthdays without a day are kept.
    of = [(LEAP, at.lunar_year, at.leap), (LUNAR, at.lunar_year, at.lunar), (0, at.year, at.solar)]
    full = [
        (and_(md >= kind, md < _NEXT[kind], year <= this), this - year - case((md > over, 1), else_=0))
        for kind, this, over in of
        if this is not None
    ]
    return Whole(case(*full))


def _guest(scope: Scope, _field: Field) -> Operand:
    return Flag(scope.member("external_id").is_(None))


def _tag(scope: Scope, field: Field) -> Operand:
    return Flag(scope.among(tags_of(text_of(field, "tag") or "")))


def _happened(scope: Scope, field: Field) -> Operand:
    return Whole(scope.total(events_of(text_of(field, "event") or ""), "count", window_of(field)))


def _attribute(scope: Scope, field: Field) -> Operand:
    return Words(scope.attribute(text_of(field, "name") or "", number=False))


def _attribute_number(scope: Scope, field: Field) -> Operand:
    return Loose(scope.attribute(text_of(field, "name") or "", number=True))


def _text(
    key: str, en: str, zh: str, help_: Text, column: str, example: str, form: tuple[str, str] | None = None
) -> FieldSpec:
    sql = _told(column)
    return FieldSpec(key, Kind.TEXT, Text(en, zh), help_, _NOT_TOLD, _PROFILE, sql, form=form, example=("", example))


_ISO = ("[A-Z]{2}", 'Write the two capital letters of ISO 3166, such as "GB".')

ROWS = (
    FieldSpec(
        "days_since_joined",
        Kind.NUMBER,
        Text("number of days since joining", "注册至今的天数"),
        Text("0 on the day of joining.", "注册当天为 0。"),
        _NOT_TOLD,
        _PROFILE,
        _since_joined,
        Unit.DAYS,
        moves=Moves.DAILY,
        counts_from=("members", "joined_on"),
        example=("", ">= 30"),
    ),
    _text(
        "country",
        "country",
        "国家或地区",
        Text("Two letters of ISO 3166, such as GB.", "ISO 3166 两位字母代码，例如 CN。"),
        "country",
        '== "GB"',
        _ISO,
    ),
    _text("locale", "language", "语言", Text("Such as en or zh-CN.", "例如 en 或 zh-CN。"), "locale", '== "en"'),
    _text(
        "timezone",
        "time zone",
        "时区",
        Text("The zone the member's days are computed in.", "计算会员日期所用的时区。"),
        "zone",
        '== "Europe/London"',
    ),
    _text(
        "email",
        "e-mail address",
        "邮箱地址",
        Text("In small letters.", "一律为小写字母。"),
        "email",
        'ends_with "@example.com"',
    ),
    _text(
        "phone",
        "phone number",
        "手机号码",
        Text("In the international form, such as +447700900123.", "国际格式，例如 +8613800138000。"),
        "phone",
        'starts_with "+44"',
    ),
    _text(
        "first_name",
        "first name",
        "名",
        Text("As the store tells it.", "以店铺提供的为准。"),
        "first_name",
        '== "Grace"',
    ),
    _text(
        "last_name",
        "last name",
        "姓",
        Text("As the store tells it.", "以店铺提供的为准。"),
        "last_name",
        '== "Hopper"',
    ),
    FieldSpec(
        "birthday_month",
        Kind.NUMBER,
        Text("month of birth", "生日月份"),
        Text("1 to 12.", "1 到 12。"),
        Text("Unknown when no birthday of the solar calendar is known.", "没有公历生日时为未知。"),
        _PROFILE,
        _birthday_month,
        Unit.MONTH,
        between=(1, 12),
        example=("", "== 5"),
    ),
    FieldSpec(
        "birthday_day",
        Kind.NUMBER,
        Text("day of the month of birth", "生日是几号"),
        Text("1 to 31.", "1 到 31。"),
        Text("Unknown when the day is not known, or is a lunar one.", "不知道具体日期，或为农历生日时为未知。"),
        _PROFILE,
        _birthday_day,
        between=(1, 31),
        example=("", "<= 7"),
    ),
    FieldSpec(
        "lunar_birthday_month",
        Kind.NUMBER,
        Text("lunar month of birth", "农历生日月份"),
        Text(
            "1 to 12 in the Chinese calendar; a leap month counts as the one it follows.",
            "农历 1 到 12 月；闰月按其前一个月计。",
        ),
        Text("Unknown when no lunar birthday is known.", "没有农历生日时为未知。"),
        _PROFILE,
        _lunar_month,
        between=(1, 12),
        example=("", "== 8"),
    ),
    FieldSpec(
        "lunar_birthday_day",
        Kind.NUMBER,
        Text("day of the lunar month of birth", "农历生日是初几"),
        Text("1 to 30.", "1 到 30。"),
        Text("Unknown when no lunar birthday is known, or not its day.", "没有农历生日或不知道具体日期时为未知。"),
        _PROFILE,
        _lunar_day,
        between=(1, 30),
        example=("", "== 15"),
    ),
    FieldSpec(
        "age",
        Kind.NUMBER,
        Text("age in years", "年龄"),
        Text(
            "Full years on the day of asking; by the lunar calendar where the birthday is lunar.",
            "查询当天的周岁；农历生日按农历计。",
        ),
        Text("Unknown when the year of birth is not known.", "出生年份未知时为未知。"),
        _PROFILE,
        _age,
        Unit.YEAR,
        moves=Moves.OWN_PACE,
        example=("", ">= 18"),
    ),
    FieldSpec(
        "guest",
        Kind.FLAG,
        Text("have no account", "没有账户"),
        Text("Bought without an account in the store.", "未在店铺注册账户而下单。"),
        KNOWN,
        _PROFILE,
        _guest,
        without=Text("have an account", "有账户"),
        example=("", ""),
    ),
    FieldSpec(
        "tag",
        Kind.FLAG,
        Text("have the tag “{tag}”", "有标签“{tag}”"),
        Text("Upper and lower case count.", "区分大小写。"),
        KNOWN,
        _PROFILE,
        _tag,
        parameters=(Parameter("tag", str, Text("tag", "标签"), positional=True),),
        without=Text("do not have the tag “{tag}”", "没有标签“{tag}”"),
        example=('"vip"', ""),
    ),
    FieldSpec(
        "attribute",
        Kind.TEXT,
        Text("attribute “{name}”", "属性“{name}”"),
        Text(
            "Whatever else the store or a file tells of a member, as a text; yes and no are true and false.",
            "店铺或文件提供的其他会员信息，按文本比较；是和否写作 true 和 false。",
        ),
        Text(
            "Unknown when it is not told, empty, or neither a text nor a whole number.",
            "未提供、为空，或不是文本或整数时为未知。",
        ),
        _PROFILE,
        _attribute,
        parameters=(_NAME,),
        example=('"size"', '== "XL"'),
    ),
    FieldSpec(
        "attribute_number",
        Kind.NUMBER,
        Text("attribute “{name}”", "属性“{name}”"),
        Text("The same where it is a number.", "同上，用于数值属性。"),
        Text("Unknown when it is no number.", "不是数值时为未知。"),
        _PROFILE,
        _attribute_number,
        parameters=(_NAME,),
        exact=False,
        example=('"loyalty_years"', ">= 2"),
    ),
    FieldSpec(
        "happened",
        Kind.NUMBER,
        Text("number of events “{event}”", "“{event}”事件的次数"),
        Text(
            "Events of a kind that were raised and not withdrawn, by the day each is about: moved (another country or state than before, "
            "noted by the sync), complaint, or a kind of your own.",
            "已发生且未撤回的某类事件，按其所涉及的日期计算：moved（国家或省州有变，由同步记录）、complaint（投诉）或自定义类型。",
        ),
        ZERO,
        (Source.EVENTS,),
        _happened,
        Unit.COUNT,
        (Parameter("event", str, Text("kind of event", "事件类型"), positional=True), *PLAIN_SPAN),
        moves=Moves.WINDOW,
        example=('"moved", days=365', ">= 1"),
    ),
)
