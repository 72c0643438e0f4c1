"""A plain async function that yields."""

import asyncio
from typing import AsyncIterator


async def predict(words: str) -> AsyncIterator[str]:
    for word in words.split():
        await asyncio.sleep(0)
        yield word.upper()


CASES = [({"words": "to be"}, ["TO", "BE"]), ({"words": ""}, [])]
BAD_INPUTS = [({"words": None}, "words")]
