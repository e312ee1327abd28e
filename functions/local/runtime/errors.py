"""What can go wrong in the local runtime.

::

    CloudError
    ├── ManifestError          a manifest cannot be run as it is
    ├── StartError             an instance that must always run does not come up
    ├── TopologyError          RabbitMQ refuses an exchange, a queue, a binding or a policy
    ├── ConversionError        a message cannot be made into a CloudEvent: given back without asking the sink
    └── SinkError              nobody answered at a Service: tried again as the delivery policy says
"""

from __future__ import annotations

from functions.errors import CloudError


class ManifestError(CloudError):
    """A manifest is missing, contradicts itself, or says what the local runtime cannot do."""

    code = "manifest"
    hint = "Correct the file in knative/; tests/unit/test_knative_manifests.py checks them all."


class StartError(CloudError):
    """An instance that must always run did not become ready."""

    code = "start"
    hint = "Its log says why."


class TopologyError(CloudError):
    """RabbitMQ refused a part of the topology."""

    code = "topology"
    hint = "A queue or exchange of that name with other properties may exist: delete it if it is empty."


class ConversionError(CloudError):
    """A message that the event source cannot turn into a CloudEvent."""

    code = "conversion"


class SinkError(CloudError):
    """No answer from an instance of a Service."""

    code = "sink-unreachable"
