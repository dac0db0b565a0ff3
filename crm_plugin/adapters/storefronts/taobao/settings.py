"""The settings of a Taobao shop and of the app that asks for it. What only Alibaba can switch on is said where it matters."""

from __future__ import annotations

from crm_plugin.adapters.base import Setting, SettingType
from crm_plugin.adapters.storefronts.taobao.session import BACK_OFFICE, SUBSCRIPTION
from crm_plugin.adapters.storefronts.taobao.signing import METHODS
from crm_plugin.adapters.storefronts.taobao.trades import FULL, SIMPLE

# Of the app: typed in for a merchant's own app, or read from the environment for one of the service market.
APP = (
    Setting(
        "app_key",
        "App key",
        help="Of the app in Alibaba's Open Platform; its console shows it.",
        required=False,
        default="",
    ),
    Setting(
        "app_secret", "App secret", SettingType.SECRET, "Beside the app key in the console.", required=False, default=""
    ),
    Setting(
        "app_kind",
        "Kind of app",
        SettingType.CHOICE,
        "By the app's tag at Alibaba: an app of the service market (subscription) renews its session, a merchant's own cannot.",
        required=False,
        default=BACK_OFFICE,
        choices=(BACK_OFFICE, SUBSCRIPTION),
    ),
    Setting(
        "base_url",
        "API address",
        SettingType.URL,
        "Only to be changed for the gateway overseas or a test server.",
        required=False,
        default="https://gw.api.taobao.com/router/rest",
    ),
    Setting(
        "sign_method",
        "Signature",
        SettingType.CHOICE,
        "How calls are signed; the first is the strongest.",
        required=False,
        default=METHODS[0],
        choices=METHODS,
    ),
    Setting(
        "grades_a_day",
        "Grades written a day",
        SettingType.INTEGER,
        "At most so many members a day get another grade; the others wait for the next. Each takes two of the calls that Alibaba allows "
        "the app a day, 5,000 for one that is not published. 0 for no end.",
        required=False,
        default=1000,
    ),
)
OAUTH = Setting(
    "oauth_url",
    "Address of the login",
    SettingType.URL,
    "Only to be changed for a test server.",
    required=False,
    default="https://oauth.taobao.com",
)
SHOP = (
    Setting("session", "Session", SettingType.SECRET, "What the shop's owner got on agreeing to the app."),
    Setting(
        "session_ends_at",
        "End of the session",
        help="Day or time such as 2027-03-01T10:00:00+08:00; you are warned before.",
        required=False,
        default="",
    ),
    Setting(
        "session_lasts",
        "Life of the session",
        SettingType.INTEGER,
        required=False,
        default=0,
        hidden=True,
    ),
    Setting(
        "refresh_token",
        "Refresh token",
        SettingType.SECRET,
        "Of an app of the service market; came with the session.",
        required=False,
        default="",
    ),
    Setting(
        "user_id", "Seller's number", help="taobao_user_id, which came with the session.", required=False, default=""
    ),
    Setting("seller_nick", "Seller's name", help="The shop's name at Taobao.", required=False, default=""),
    Setting(
        "trade_api",
        "Orders by",
        SettingType.CHOICE,
        "Apps for member care get the simple methods alone; a merchant's own back office may have the full ones. Neither tells a "
        "name, a phone number or an address here.",
        required=False,
        default=SIMPLE,
        choices=(SIMPLE, FULL),
    ),
    Setting(
        "grade_program",
        "Programme of the grades",
        help="Taobao holds one grade a member, so one programme's levels can be written.",
        required=False,
        default="main",
    ),
    Setting(
        "grades",
        "Grades of the levels",
        help="Which level is which grade of Taobao, such as silver=2, gold=3. Grade 1 is best left to members without a level.",
        required=False,
        default="",
    ),
    Setting(
        "benefits",
        "Benefits",
        SettingType.JSON,
        "Set up at Alibaba, to be given as coupons: a list of amount, least, relation_id, detail_id and benefit_type.",
        required=False,
    ),
    Setting(
        "message_group",
        "Message group",
        help="The group of the message service; only to be changed when the app's shops are spread over several.",
        required=False,
        default="default",
    ),
    Setting(
        "sms_signature",
        "Signature of texts",
        help="As Alibaba approved it, without 【】; only Alibaba can approve one.",
        required=False,
        default="",
    ),
    Setting(
        "sms_template",
        "Template of texts",
        help="Code of a template that Alibaba approved, with a placeholder for the text; empty to send the text as the seller's own.",
        required=False,
        default="",
    ),
    Setting(
        "sms_placeholder",
        "Placeholder of the template",
        help="What the template calls the text.",
        required=False,
        default="content",
    ),
    Setting(
        "part_price",
        "Price of one part",
        SettingType.AMOUNT,
        "What one part of a text costs you in the shop's currency, such as 0.05; rehearsals tell costs by it.",
        required=False,
        default="",
    ),
    Setting(
        "members_agreed",
        "Members agreed to texts",
        SettingType.BOOLEAN,
        "Say yes only if the terms of the shop's membership ask for it: then joining counts as a yes to texts.",
        required=False,
        default=False,
    ),
)
