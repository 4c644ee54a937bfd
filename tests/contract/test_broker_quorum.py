"""The part of the brokers' contract that a queue's kind could change, on quorum queues."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from taskengine.brokers import open_broker
from taskengine.ports import Broker
from tests.contract.test_broker import (
    test_a_cancelled_wait_loses_nothing,
    test_a_delivery_is_settled_once,
    test_a_message_arrives_as_it_was_sent,
    test_messages_come_in_the_order_of_publication,
    test_no_more_than_prefetch_deliveries_are_unsettled,
    test_what_a_closing_consumer_holds_comes_again_and_says_so,
    test_what_is_given_back_comes_again_and_says_so,
    test_what_is_rejected_goes_to_the_dead_letters_with_the_reason,
    test_what_was_acknowledged_does_not_come_again,
)
from tests.support.rabbitmq import RabbitServer

__all__ = [
    "test_a_cancelled_wait_loses_nothing",
    "test_a_delivery_is_settled_once",
    "test_a_message_arrives_as_it_was_sent",
    "test_messages_come_in_the_order_of_publication",
    "test_no_more_than_prefetch_deliveries_are_unsettled",
    "test_what_a_closing_consumer_holds_comes_again_and_says_so",
    "test_what_is_given_back_comes_again_and_says_so",
    "test_what_is_rejected_goes_to_the_dead_letters_with_the_reason",
    "test_what_was_acknowledged_does_not_come_again",
]


@pytest.fixture
async def broker(rabbitmq: RabbitServer) -> AsyncIterator[Broker]:
    """An open, empty broker whose queues are all of the kind quorum."""
    async with open_broker(rabbitmq.url(queues="quorum")) as opened:
        yield opened
