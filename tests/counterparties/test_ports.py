"""The ports of the simulated systems open and close as a whole."""

import asyncio

import pytest

from certification.counterparties.connections import Port, bound_socket
from certification.counterparties.wire import Allowance, Request


async def nothing(_connection: object, _request: Request) -> bool:
    return False


def test_two_that_open_a_port_at_once_leave_nothing_that_a_refusal_does_not_close() -> None:
    async def scenario() -> None:
        with bound_socket("127.0.0.1", 0) as guard:
            port = Port(
                guard=guard,
                application=nothing,
                on_garbage=lambda _connection, _refused: None,
                allowance=Allowance(1000),
                body_max_bytes=1000,
                room=Allowance(10),
            )
            await asyncio.gather(port.listen(), port.listen())
            _, writer = await asyncio.open_connection("127.0.0.1", port.number)
            writer.close()
            port.refuse()
            await asyncio.sleep(0)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port.number)

    asyncio.run(scenario())
