"""What customers asked for by law: a file of all that is kept of them, to be handed on."""

from __future__ import annotations

import json

from flask import Response

from crm_plugin.sync import privacy
from crm_plugin.web.pages import bp
from crm_plugin.web.site import site, the_shop


@bp.post("/s/<shop>/connections/privacy/<int:asked>")
def connections_privacy(asked: int) -> Response:
    """The file of one request, which is done with it."""
    runtime = site().runtime
    found = privacy.hand_over(runtime.db, the_shop(), asked, runtime.clock.now())
    text = json.dumps(found, ensure_ascii=False, indent=2, default=str)
    told = {"Content-Disposition": f'attachment; filename="customer-data-{asked}.json"'}
    return Response(f"{text}\n", mimetype="application/json", headers=told)
