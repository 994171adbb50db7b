"""The MCP server that the conformance suite and the client matrix drive through mainstay.

It owns the fixtures which the suite's scenario descriptions ask for, for both eras, and a few plain
tools with answers that a client test can check. It is written with the official SDK's low-level server
so that nothing of its protocol behaviour is ours. It knows nothing of mainstay.

    conformance_worker.py                 serve on stdin/stdout
    conformance_worker.py --http PORT     serve the same object over Streamable HTTP, without a gateway:
                                          tells a fault of this file from a fault of the gateway
"""

from __future__ import annotations

import gc

gc.disable()  # the imports build some hundred thousand objects that all stay: collecting is wasted start time

import argparse
import warnings
from typing import Any

import anyio
import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import ListenHandler
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError

from fixtures import callbacks, contents, plain, prompts, questions, resources
from fixtures.answers import Answer, Ctx

gc.freeze()
gc.enable()
warnings.simplefilter("ignore", MCPDeprecationWarning)  # logging and sampling are deprecated, and tested here

NAME = "conformance-worker"
# Fixed, because several processes serve one client: state sealed by one has to open in another.
STATE_KEY = "a key of the test fixtures that protects nothing, 32 bytes or more"
# In the order of tools/list. The plain tools come last: the suite calls the first tool without arguments.
TOOLS = contents.tools | callbacks.tools | questions.tools | plain.tools


async def list_tools(ctx: Ctx, params: Any) -> types.ListToolsResult:
    return types.ListToolsResult(tools=[fixture.tool for fixture in TOOLS.values()])


async def call_tool(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    if params.name not in TOOLS:
        raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name}")
    return await TOOLS[params.name].call(ctx, params)


async def set_level(ctx: Ctx, params: types.SetLevelRequestParams) -> types.EmptyResult:
    return types.EmptyResult()


def build() -> Server:
    listed = CacheHint(ttl_ms=60_000, scope="public")
    server = Server(
        NAME,
        version="1.0.0",
        instructions="Fixtures for tests.",
        cache_hints={
            "server/discover": listed,
            "tools/list": listed,
            "prompts/list": listed,
            "resources/list": listed,
            "resources/templates/list": listed,
            "resources/read": CacheHint(ttl_ms=1_000, scope="private"),
        },
        # Mcp-Param headers are checked against these by the SDK's own HTTP transport (--http).
        get_tool_input_schema=lambda name: TOOLS[name].tool.input_schema if name in TOOLS else None,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=resources.list_resources,
        on_list_resource_templates=resources.list_templates,
        on_read_resource=resources.read_resource,
        on_subscribe_resource=resources.subscribe,
        on_unsubscribe_resource=resources.subscribe,
        on_subscriptions_listen=ListenHandler(contents.bus),
        on_list_prompts=prompts.list_prompts,
        on_get_prompt=prompts.get_prompt,
        on_completion=prompts.complete,
        on_set_logging_level=set_level,
    )
    server.middleware.append(RequestStateBoundary(RequestStateSecurity(keys=[STATE_KEY]), default_audience=NAME))
    return server


async def serve_stdio() -> None:
    server = build()
    changes = NotificationOptions(prompts_changed=True, resources_changed=True, tools_changed=True)
    async with stdio_server() as (reader, writer):
        await server.run(reader, writer, server.create_initialization_options(changes))


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--http", type=int, metavar="PORT", help="serve on 127.0.0.1:PORT/mcp instead of stdio")
    port = arguments.parse_args().http
    if port is None:
        anyio.run(serve_stdio)
        return
    import uvicorn

    uvicorn.run(build().streamable_http_app(), host="127.0.0.1", port=port, log_level="warning")


if __name__ == "__main__":
    main()
