"""An async function."""


async def run(name: str = "world") -> str:
    return f"hello {name}"
