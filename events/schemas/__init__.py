"""The JSON Schema of every event's data, made from its class; ``python -m events.schemas`` writes the files here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from events.event import Event
from events.types import TYPE_PREFIX

FOLDER: Final = Path(__file__).parent


def schema_file(event_class: type[Event]) -> Path:
    """Where the schema of an event type is kept: ``repository.requested.json`` and so on."""
    return FOLDER / f"{event_class.TYPE.removeprefix(TYPE_PREFIX)}.json"


def schema_text(event_class: type[Event]) -> str:
    """The schema of the data of an event type, as it stands in its file."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{event_class.TYPE}",
        **event_class.model_json_schema(),
    }
    return json.dumps(schema, indent=2) + "\n"
