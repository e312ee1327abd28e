"""What watches a run from one place near the service: messages, revisions, queues, processes, and the time."""
