"""Drives the Python SDK 2.x in the mode ERA (legacy, auto or a modern version): URL ERA SERVER VERSION."""

from exercise import Adapter, Reply, exercise, main, reply_of
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError


async def drive(url: str, era: str, server: str, version: str) -> None:
    async with Client(url, mode=era) as client:

        async def tool_names():
            return [tool.name for tool in (await client.list_tools()).tools]

        async def call(name, arguments, on_progress):
            async def progress(done, total, message):
                on_progress(done, total)

            try:
                result = await client.call_tool(name, arguments, progress_callback=progress if on_progress else None)
            except MCPError as error:
                return Reply(error.message, code=error.code)
            return reply_of(result)

        await exercise(Adapter(lambda: client.protocol_version, tool_names, call), server, version)


main(drive)
