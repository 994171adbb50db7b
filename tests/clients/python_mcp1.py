"""Drives the Python SDK 1.x, which knows the handshake era only: URL ERA SERVER VERSION."""

from exercise import Adapter, Reply, exercise, main, reply_of
from mcp import ClientSession, McpError
from mcp.client.streamable_http import streamable_http_client


async def drive(url: str, era: str, server: str, version: str) -> None:
    async with streamable_http_client(url) as (reader, writer, _), ClientSession(reader, writer) as session:
        negotiated = await session.initialize()

        async def tool_names():
            return [tool.name for tool in (await session.list_tools()).tools]

        async def call(name, arguments, on_progress):
            async def progress(done, total, message):
                on_progress(done, total)

            try:
                result = await session.call_tool(
                    name, arguments, progress_callback=progress if on_progress else None
                )
            except McpError as error:
                return Reply(error.error.message, code=error.error.code)
            return reply_of(result)

        await exercise(Adapter(lambda: negotiated.protocolVersion, tool_names, call), server, version)


main(drive)
