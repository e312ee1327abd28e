"""What people read when RabbitMQ cannot be reached: the cause, no password, and nothing of pika's inside."""

from __future__ import annotations

import pytest
from pydantic import SecretStr

from functions.adapters.rabbitmq_link import Link, LinkLost, link_parameters
from functions.errors import BrokerUnavailable
from functions.local.servers.ports import fresh_port


@pytest.mark.parametrize("url", ["", "nonsense", "amqp://h:port", "amqp://guest:geheim@h:99999"])
def test_an_address_that_is_none_is_told_without_it(url: str) -> None:
    with pytest.raises(BrokerUnavailable) as caught:
        link_parameters(SecretStr(url), name="test")
    assert str(caught.value) == "the address of RabbitMQ cannot be read"


def test_a_refused_connection_is_told_in_one_phrase() -> None:
    with pytest.raises(LinkLost) as caught:
        Link(link_parameters(SecretStr(f"amqp://guest:geheim@127.0.0.1:{fresh_port()}"), name="test"), timeout_s=10)
    assert str(caught.value) == "there is no connection to RabbitMQ: Connection refused"
