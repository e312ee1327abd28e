"""Write the schema files."""

from events.registry import EVENT_CLASSES
from events.schemas import schema_file, schema_text

for event_class in EVENT_CLASSES.values():
    schema_file(event_class).write_text(schema_text(event_class), encoding="utf-8")
