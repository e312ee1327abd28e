"""The wiring of ``knative/`` on one machine: the same manifests, the real event source's rules, functions from zero.

::

    runtime.py        Runtime: start, stop, status
    manifests.py      YAML to frozen values              durations.py   ISO-8601 and Go durations
    topology.py       exchanges, queues, bindings by AMQP, policies by the management interface
    source.py         the RabbitmqSource adapter         conversion.py  AMQP message to CloudEvent over HTTP
    timer.py          the PingSource adapter         schedules.py    cron schedules
    instances.py      activator and autoscaler           scaling.py     their decisions
    instance.py       one process with a port            container.py   its command line and environment

What differs from the cluster: a source hands a request to an instance without a proxy in between; instances start as
soon as all are busy instead of after a look at the average; a request that finds no instance able to start is answered
503 at once; liveness probes, resource limits, accounts and network policies have no effect.
"""
