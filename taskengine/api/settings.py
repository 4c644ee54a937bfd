"""The settings that can be changed while the engine runs."""

from __future__ import annotations

from taskengine.api.answers import Answer
from taskengine.api.call import Call
from taskengine.api.faults import invalid
from taskengine.api.models import SettingFields, read
from taskengine.api.views import setting_object
from taskengine.domain.errors import Fault, Forbidden, NotFound
from taskengine.domain.tenants import Role
from taskengine.engine.settings_book import SYSTEM


async def list_settings(call: Call) -> Answer:
    """The settings as they hold for the caller (an admin: the system's, or those of `client`)."""
    asked = call.request.query.get("client")
    if call.caller.role is not Role.ADMIN and asked not in {None, call.caller.client}:
        raise Forbidden("Only an admin may see the settings of another client")
    scope = asked or (SYSTEM if call.caller.role is Role.ADMIN else call.caller.client)
    if asked is not None and asked not in {view.client.name for view in await call.services.tenants.clients()}:
        raise NotFound(f"there is no client {asked[:100]!r}")
    views = await call.services.settings.all(scope)
    return Answer({"result": "ok", "settings": [setting_object(view) for view in views]})


async def change_setting(call: Call) -> Answer:
    """Set one setting; it holds at once."""
    asked = read(SettingFields, call.fields)
    if asked.setting is None:
        raise invalid(Fault("/setting", "must be a number or a text"))
    named = asked.client if asked.client != call.caller.client else None  # its own name says who calls, as in any body
    created = await call.services.settings.set(call.caller, asked.name, asked.setting, named)
    return Answer({"result": "ok", "message": f"{asked.name} setting {'created' if created else 'updated'}"})
