"""The configuration of a private RabbitMQ node: its own name server, cookie and database, loopback only."""

from __future__ import annotations

from pathlib import Path

from pydantic import SecretStr

from functions.local.servers.ports import LOOPBACK

NODE = "cvmfs@localhost"
USER = "cvmfs"
ENABLED_PLUGINS = "[rabbitmq_management].\n"

_TEMPLATE = """\
listeners.tcp.1 = {host}:{amqp_port}
management.tcp.ip = {host}
management.tcp.port = {management_port}
default_user = {user}
default_pass = {password}
log.file = false
log.console = true
log.console.level = warning
disk_free_limit.absolute = 200MB
"""


def rabbitmq_conf(*, amqp_port: int, management_port: int, password: SecretStr) -> str:
    """The text of ``rabbitmq.conf``; the user in it is made when the database is made, and is administrator."""
    return _TEMPLATE.format(
        host=LOOPBACK,
        amqp_port=amqp_port,
        management_port=management_port,
        user=USER,
        password=password.get_secret_value(),
    )


def rabbitmq_environment(folder: Path, *, epmd_port: int, distribution_port: int) -> dict[str, str]:
    """The variables that keep the node inside `folder`.

    With ``RABBITMQ_ALLOW_INPUT`` the start script becomes the Erlang machine instead of waiting for it, so the process
    that was started is the node itself. Idle schedulers do not spin, and the name server is ours.
    """
    arguments = (
        "+S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none -start_epmd false -kernel inet_dist_use_interface {127,0,0,1}"
    )
    return {
        "RABBITMQ_ALLOW_INPUT": "true",
        "RABBITMQ_NODENAME": NODE,
        "RABBITMQ_CONFIG_FILE": f"{folder}/rabbitmq.conf",
        "RABBITMQ_ADVANCED_CONFIG_FILE": f"{folder}/no-advanced.config",
        "RABBITMQ_CONF_ENV_FILE": f"{folder}/no-env.conf",
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{folder}/enabled_plugins",
        "RABBITMQ_MNESIA_BASE": f"{folder}/mnesia",
        "RABBITMQ_LOG_BASE": f"{folder}/log",
        "RABBITMQ_DIST_PORT": str(distribution_port),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": arguments,
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": LOOPBACK,
        "ERL_CRASH_DUMP": f"{folder}/log/erl_crash.dump",
        "ERL_CRASH_DUMP_SECONDS": "0",
    }
