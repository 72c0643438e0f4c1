"""An async function."""

import asyncio


async def run(name: str = "world") -> str:
    await asyncio.sleep(0)
    return f"hello {name}"


CASES = [({"name": "you"}, "hello you"), ({}, "hello world")]
BAD_INPUTS = [({"name": 3}, "name"), ({"name": None}, "name"), ({"nmae": "you"}, "nmae")]
