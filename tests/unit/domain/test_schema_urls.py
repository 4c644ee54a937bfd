"""Finding the URLs in parameters by their schema."""

from __future__ import annotations

from taskengine.domain.schema_urls import urls_of

URI = {"type": "string", "format": "uri"}


def test_urls_are_found_wherever_a_schema_has_them() -> None:
    """In lists, objects, alternatives, conditions, references and further properties; each with its pointer."""
    schema = {
        "$defs": {"clip": {"properties": {"source": URI, "again": {"$ref": "#/$defs/clip"}}}},
        "properties": {
            "one": URI, "many": {"items": URI}, "text": {"type": "string"}, "noted": {**URI, "x-not-fetched": True},
            "clips": {"items": {"$ref": "#/$defs/clip"}}, "either": {"anyOf": [{"type": "integer"}, URI]},
            "pair": {"prefixItems": [{"type": "string"}, URI]},
        },
        "additionalProperties": URI,
        "allOf": [{"if": {"required": ["one"]}, "then": {"properties": {"late": URI}}}],
    }  # fmt: skip
    value = {
        "one": "u1", "many": ["u2", 7, "u3"], "text": "no", "noted": "no", "either": "u6", "pair": ["no", "u7"],
        "clips": [{"source": "u4", "again": {"source": "u5"}}, None], "other": "u8", "late": "u9",
    }  # fmt: skip
    assert dict(urls_of(value, schema)) == {
        "/one": "u1", "/many/0": "u2", "/many/2": "u3", "/clips/0/source": "u4", "/clips/0/again/source": "u5",
        "/either": "u6", "/pair/1": "u7", "/other": "u8", "/late": "u9",
    }  # fmt: skip


def test_a_schema_that_refers_to_itself_ends() -> None:
    """However deep the value is."""
    schema = {"$ref": "#", "properties": {"a": {"$ref": "#"}}}
    assert list(urls_of({"a": {"a": "x"}}, schema)) == []
