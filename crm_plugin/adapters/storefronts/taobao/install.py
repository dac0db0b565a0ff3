"""How a shop's owner agrees to the app: Taobao's login, a code that comes back, and the session that it is exchanged for."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from crm_plugin.adapters.base import Setting
from crm_plugin.adapters.storefronts.calls import Calls
from crm_plugin.adapters.storefronts.installing import Frame, Installed, Installer
from crm_plugin.adapters.storefronts.taobao import settings
from crm_plugin.adapters.storefronts.taobao.envelope import ADAPTER
from crm_plugin.adapters.storefronts.taobao.session import granted
from crm_plugin.errors import ActionRequired, InvalidInput, MalformedResponse
from crm_plugin.phrases import phrase
from crm_plugin.records import RawRequest
from crm_plugin.redaction import redact

_VIEWS = ("web", "tmall", "wap")
_FORM = {"Content-Type": "application/x-www-form-urlencoded;charset=utf-8"}
# A code is good once, so an exchange whose answer was lost cannot be made again.
_ONCE = 1


class TaobaoInstaller(Installer):
    """OAuth 2.0 with a code. What the app may read is the permission packages that Alibaba gave it; scopes are not told."""

    platform = "taobao"
    app_settings: ClassVar[tuple[Setting, ...]] = (*settings.APP, settings.OAUTH)

    def __init__(self, app: Mapping[str, Any], public_url: str) -> None:
        super().__init__(app, public_url)
        for setting in settings.APP[:2]:
            if not self.app[setting.key]:
                raise InvalidInput(phrase("%(label)s is missing.", label=phrase(setting.label)), field=setting.key)

    def begin(self, told: Mapping[str, str], state: str, back: str) -> str:
        """See the contract; `view` among what was told chooses the login of Taobao (web), Tmall or a phone (wap)."""
        view = told.get("view") or _VIEWS[0]
        if view not in _VIEWS:
            raise InvalidInput(phrase("%(view)r is no login of Taobao.", view=view), field="view")
        asked = {
            "response_type": "code",
            "client_id": self.app["app_key"],
            "redirect_uri": back,
            "state": state,
            "view": view,
        }
        return f"{self.app['oauth_url']}/authorize?{urlencode(asked)}"

    def finish(self, request: RawRequest, told: Mapping[str, str], back: str) -> Installed:
        """See the contract."""
        answered = dict(parse_qsl(urlsplit(request.url).query))
        if answered.get("error"):
            raise self._refused(answered)
        if not answered.get("code"):
            raise InvalidInput(phrase("Taobao sent no code."), field="code")
        kept = granted(self._exchanged(answered["code"], back), time.time())
        if not kept["user_id"]:
            raise MalformedResponse(
                phrase("Taobao's answer does not say whose shop it is."),
                adapter=ADAPTER,
                operation="token",
                path="$.taobao_user_id",
            )
        # An owner who agrees again, as the end of a session asks for, finds all else as it was set.
        credentials = {**(self.known(kept["user_id"]) or {}), **kept}
        return Installed(kept["user_id"], "https://www.taobao.com", credentials, title=kept["seller_nick"])

    def frame(self, reference: str) -> Frame:
        """Taobao shows no page of ours inside its own."""
        del reference
        return Frame(())

    def _exchanged(self, code: str, back: str) -> dict[str, Any]:
        asked = {
            "grant_type": "authorization_code",
            "code": code,
            "client_id": self.app["app_key"],
            "client_secret": self.app["app_secret"],
            "redirect_uri": back,
        }
        calls = Calls(ADAPTER, attempts=_ONCE)
        try:
            answer = calls.send(
                "POST",
                f"{self.app['oauth_url']}/token",
                operation="token",
                headers=_FORM,
                body=urlencode(asked).encode(),
            )
        finally:
            calls.close()
        try:
            value = json.loads(answer.body)
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise MalformedResponse(
                phrase("Taobao's answer holds no session."), adapter=ADAPTER, operation="token", path="$"
            )
        if value.get("error"):
            raise self._refused(value)
        return value

    @staticmethod
    def _refused(told: Mapping[str, Any]) -> ActionRequired:
        said = redact(f"{told['error']} {told.get('error_description', '')}".strip()[:200])
        if told["error"] == "access_denied":
            message, hint = phrase("The shop's owner did not agree."), phrase("Begin again, and agree to the app.")
        else:
            message, hint = (
                phrase("Taobao refuses (%(said)s).", said=said),
                phrase("Begin again; a code is good once and for minutes."),
            )
        return ActionRequired(message, hint=hint, adapter=ADAPTER, operation="token", excerpt=said, code="not_agreed")
