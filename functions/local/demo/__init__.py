"""The whole mission on one machine: a user, a dashboard and a worker node played against the real stack."""
