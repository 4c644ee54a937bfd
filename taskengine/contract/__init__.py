"""The messages on the bus as JSON Schemas and as an AsyncAPI document: what other systems write their programs against."""
