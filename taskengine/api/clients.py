"""Clients and their keys, for admins."""

from __future__ import annotations

from taskengine.api.answers import Answer
from taskengine.api.call import Call
from taskengine.api.client_checks import config_faults
from taskengine.api.faults import invalid
from taskengine.api.models import ClientFields, read
from taskengine.api.views import client_object
from taskengine.domain.errors import Fault
from taskengine.domain.tenants import Role, parse_client_config


async def list_clients(call: Call) -> Answer:
    """All clients with their keys (which are not shown)."""
    return Answer([client_object(view) for view in await call.services.tenants.clients()])


async def save_client(call: Call) -> Answer:
    """Make a client with its first key and the secret that signs its callbacks, which are shown this once; or change a
    client's role or configuration."""
    asked = read(ClientFields, call.fields)
    tenants = call.services.tenants
    if asked.config is not None:
        config, services = parse_client_config(asked.config), call.services
        if faults := config_faults(config, asked.name, services.storages(), services.catalog):
            raise invalid(*faults)
    if asked.name in {view.client.name for view in await tenants.clients()}:
        await tenants.change_client(asked.name, asked.role, asked.config)
        return Answer({"result": "updated", "name": asked.name})
    role = asked.role or Role.SUBMITTER.value
    made = await tenants.add_client(asked.name, role, asked.config)
    shown = {"key_id": made.id, "api_key": made.api_key}
    if made.callback_secret is not None:
        shown["callback_secret"] = made.callback_secret
    return Answer({"result": "created", "name": asked.name, "role": role, **shown})


async def remove_client(call: Call) -> Answer:
    """Remove a client with its keys and settings; its jobs stay."""
    name = call.request.match_info.get("name") or call.request.query.get("name") or call.fields.get("name")
    if not isinstance(name, str):
        raise invalid(Fault("/name", "is required"))
    await call.services.tenants.remove_client(name)
    return Answer({"result": "removed", "name": name})


async def add_key(call: Call) -> Answer:
    """One more key of a client, shown this once."""
    made = await call.services.tenants.add_key(call.name())
    return Answer({"result": "created", "name": call.name(), "key_id": made.id, "api_key": made.api_key})


async def revoke_key(call: Call) -> Answer:
    """Let a key open nothing any more."""
    key_id = call.id("key", "key_id")
    await call.services.tenants.revoke_key(call.name(), key_id)
    return Answer({"result": "revoked", "name": call.name(), "key_id": key_id})
