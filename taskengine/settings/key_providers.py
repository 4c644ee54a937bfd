"""Where content keys come from."""

from __future__ import annotations

from string import Formatter
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from taskengine.settings.values import AbsolutePath, Group, Url

_TEMPLATE_NAMES = {"key_id", "key_uuid", "content_id", "label"}


def _template(value: str) -> str:
    try:
        names = {name for _, name, spec, conversion in Formatter().parse(value) if name is not None}
    except ValueError as error:
        raise ValueError(f"is no template: {error}") from error
    if unknown := names - _TEMPLATE_NAMES:
        raise ValueError(
            f"knows {{{'}, {'.join(sorted(_TEMPLATE_NAMES))}}} alone, not {{{'}, {'.join(sorted(unknown))}}}"
        )
    return value


UriTemplate = Annotated[Url, AfterValidator(_template)]


class KeyProviderSettings(Group):
    """Where content keys come from. URIs are templates over {key_id} (32 hex digits), {key_uuid}, {content_id}, {label}."""

    kind: Literal["static", "seed", "cpix"] = Field(..., description="`static`, `seed` or `cpix`.")
    keys_per: Literal["asset", "kind", "resolution"] = Field(
        "resolution",
        description="Which tracks share a key: all; pictures and sound; each class of resolution (SD, HD, UHD1, UHD2) "
        "and sound. Of `static`, the labels in its file say it.",
    )
    seed: SecretStr | None = Field(None, description="Of `seed`: at least 30 bytes in base64.")
    seed_file: AbsolutePath | None = Field(
        None,
        description="Of `seed`: a file with it. With neither, an engine makes one, `<data_dir>/key-seed`; workers of "
        "their own need the same seed.",
    )
    keys_file: AbsolutePath | None = Field(
        None,
        description="Of `static`: a YAML or JSON file, content id (or `*` for all) → list of {key_id, key, label, scheme}.",
    )
    url: Url | None = Field(None, description="Of `cpix`: where the key service takes CPIX documents (SPEKE 2.0).")
    headers: dict[str, SecretStr] = Field({}, description="Of `cpix`: what it wants beside, such as `Authorization`.")
    private_key_file: AbsolutePath | None = Field(
        None, description="Of `cpix`: an RSA key in PEM, which opens encrypted documents."
    )
    certificate_file: AbsolutePath | None = Field(
        None, description="Of `cpix`: its certificate in PEM; the service is asked to encrypt keys for it."
    )
    fairplay_key_uri: UriTemplate = Field(
        "skd://{key_id}", description="What FairPlay's players get as the key's URI, unless the service says another."
    )
    aes_key_uri: UriTemplate | None = Field(
        "key://{key_id}",
        description="Where players get the key of `aes`, unless the service says another. The default is no address: the "
        "player's application has to know what it stands for. null: no `aes`.",
    )
    clear_key_uri: UriTemplate | None = Field(
        None, description="Where HLS players get the plain key of `cenc` (KEYFORMAT identity), for ClearKey alone."
    )
    playready_la_url: Url | None = Field(None, description="The licence server in PlayReady's header.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        needed = {"static": "keys_file", "cpix": "url"}.get(self.kind)
        if needed and getattr(self, needed) is None:
            raise ValueError(f"a key provider of kind {self.kind} needs {needed}")
        if self.certificate_file and not self.private_key_file:
            raise ValueError("certificate_file needs private_key_file, which opens what is encrypted for it")
        return self
