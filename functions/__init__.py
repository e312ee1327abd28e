"""The service: CVMFS repositories from S3 buckets, as stateless functions.

Start at ``handlers``: one file per function. What they decide is in ``publishing``, the repository format in ``cvmfs``,
the outside world in ``adapters`` behind the protocols of ``ports``; ``wiring`` puts them together, ``main`` is the
process. ``local`` runs all of it on one machine.
"""
