"""Where the engine seals secrets and opens them: per client, in jobs, schedules, configurations and task messages."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from taskengine.domain import sealed
from taskengine.domain.errors import Fault, SecretUnavailable
from taskengine.domain.masking import mask_text
from taskengine.domain.secrets import Schema, Scrubber, hide_secrets, texts_of
from taskengine.ports import CallbackSender, DueCallback, Recurring, Sealer, SemaphoreProbe, SendResult

_CLIENTS_OWN = ("content_id", "custom_data")  # come back exactly as they were: no place for secrets
_SECRET: Schema = {"writeOnly": True}
_CONFIG: Schema = {
    "properties": {"callback_headers": _SECRET, "callback_endpoints": _SECRET, "defaults": _SECRET}
}  # the others tell by their names
_ANYTHING: Schema = {}


class Vault:
    """Seals and opens the secrets of clients. All raise SecretUnavailable."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def parameters(self, client: str, schema: Schema, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """A job's parameters, their secrets sealed: by the schema, by name where it knows none, and in URLs."""
        own, rest = _apart(parameters)
        hidden: dict[str, Any] = self._hidden(client, schema, rest)
        return hidden | own

    def submitted(self, client: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The parameters that `parameters` was given."""
        own, rest = _apart(parameters)
        opened: dict[str, Any] = self.open(client, rest)
        return opened | own

    def url(self, client: str, url: str) -> str:
        """A URL, its credentials sealed."""
        return mask_text(url, lambda secret: sealed.piece(secret, self._seal(client)))

    def config(self, client: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """A client's configuration, its secrets sealed."""
        hidden: dict[str, Any] = self._hidden(client, _CONFIG, config)
        return hidden

    def recurring(self, recurring: Recurring) -> Recurring:
        """A schedule, sealed: the parameters as a whole, for what is secret in them depends on the workflow of the day."""
        body, client = dict(recurring.body), recurring.client
        if body.get("parameters"):
            body["parameters"] = sealed.sealed(body["parameters"], self._seal(client))
        if "job" in body:
            body["job"] = self._hidden(client, _ANYTHING, body["job"])
        return replace(recurring, body=body)

    def open(self, client: str, value: Any) -> Any:
        """A copy of a JSON value with its secrets opened."""
        return sealed.opened(value, lambda text: self._sealer.open(text, client))

    def wire(self, client: str, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """A task's inputs as messages carry them: each secret as `{"$sealed": …}`."""
        whole: Mapping[str, Any] = sealed.whole(inputs, self._seal(client))
        return whole

    def attempt(self, client: str) -> Opened:
        """For the secrets of one attempt."""
        return Opened(self._sealer, client)

    def _hidden(self, client: str, schema: Schema, value: Any) -> Any:
        seal = self._seal(client)

        def seal_value(secret: Any) -> Any:
            return secret if sealed.is_sealed(secret) else sealed.sealed(secret, seal)

        return hide_secrets(value, schema, seal_value, lambda secret: sealed.piece(secret, seal))

    def _seal(self, client: str) -> sealed.Seal:
        return lambda secret: self._sealer.seal(secret, client)


class Opened:
    """Opens the inputs of one attempt, and keeps their secrets from coming out again."""

    def __init__(self, sealer: Sealer, client: str) -> None:
        self._sealer, self._client = sealer, client
        self._secrets: dict[str, str] = {}  # what is sealed → its JSON
        self._scrubber = Scrubber(())

    def take(self, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The inputs for the handler."""
        opened: Mapping[str, Any] = sealed.opened(inputs, self._open)
        told = [json.loads(secret) for secret in self._secrets.values()]
        secrets = [
            secret for secret in told if not sealed.has_sealed(secret)
        ]  # the others are texts with secrets in them
        self._scrubber = Scrubber(text for secret in secrets for text in texts_of(secret))
        return opened

    def scrub(self, text: str) -> str:
        """A text that may be shown: without the secrets."""
        return self._scrubber.text(text)

    def outputs(self, outputs: Mapping[str, Any], schema: Schema) -> Mapping[str, Any]:
        """What the handler gave, as it may be told: what its schema marks `writeOnly` sealed, and the inputs' secrets
        sealed again wherever they are."""
        kept = {secret: text for text, secret in self._secrets.items() if not sealed.has_sealed(json.loads(secret))}
        again: Any = self._again(outputs, kept) if kept else outputs
        hidden: Mapping[str, Any] = hide_secrets(again, schema, self._sealed, by_name=False)
        return hidden

    def _open(self, text: str) -> str:
        self._secrets[text] = self._sealer.open(text, self._client)
        return self._secrets[text]

    def _sealed(self, value: Any) -> Any:
        return value if sealed.is_sealed(value) else sealed.sealed(value, self._seal)

    def _seal(self, secret: str) -> str:
        return self._sealer.seal(secret, self._client)

    def _again(self, value: Any, kept: Mapping[str, str]) -> Any:
        if isinstance(value, Mapping):
            return {self.scrub(str(name)): self._again(inner, kept) for name, inner in value.items()}
        if isinstance(value, list | tuple):
            return [self._again(inner, kept) for inner in value]
        if isinstance(value, str):
            found = kept.get(json.dumps(value))
            return {sealed.FIELD: found} if found else self._scrubber.text(value, self._piece)
        return value

    def _piece(self, secret: str) -> str:
        return sealed.piece(secret, self._seal)


class OpeningSender:
    """A `CallbackSender` that opens the endpoint's credentials, and secrets in headers, for the one that sends."""

    def __init__(self, sender: CallbackSender, vault: Vault) -> None:
        self._sender, self._vault = sender, vault

    async def send(self, callback: DueCallback) -> SendResult:
        """As the inner sender; a secret that cannot be opened is a failed try."""
        try:
            endpoint = self._vault.open(callback.client, callback.endpoint)
            headers = self._vault.open(callback.client, callback.headers)
        except SecretUnavailable as error:
            return SendResult(status=None, error=str(error))
        return await self._sender.send(replace(callback, endpoint=endpoint, headers=headers))


class OpeningProbe:
    """A `SemaphoreProbe` that opens the URL's credentials for the one that asks."""

    def __init__(self, probe: SemaphoreProbe, vault: Vault) -> None:
        self._probe, self._vault = probe, vault

    async def open(self, url: str, client: str) -> tuple[bool, str]:
        """As the inner probe; a secret that cannot be opened is an answer that does not open."""
        try:
            opened = self._vault.open(client, url)
        except SecretUnavailable as error:
            return False, str(error)
        return await self._probe.open(opened, client)


def forged(parameters: Mapping[str, Any], urls: Mapping[str, str]) -> Sequence[Fault]:
    """Faults of what a client gives as if it were sealed already; `urls` by their paths."""
    _, rest = _apart(parameters)
    found = [*sealed.marks(rest, "/parameters"), *(path for path, url in urls.items() if sealed.has_sealed(url))]
    return [
        Fault(path, f"must not have {sealed.FIELD!r} or '~sealed.': the engine marks sealed secrets so")
        for path in found
    ]


def _apart(parameters: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What is the client's own, and the others."""
    own = {name: parameters[name] for name in _CLIENTS_OWN if name in parameters}
    return own, {name: value for name, value in parameters.items() if name not in own}
