"""Drives the Python SDK 2.x through a mainstayd whose server is the suite's own: BINARY URL.

The suite judges what arrives at URL, which is what mainstayd makes of what the SDK says. The scenario, its
revision and its data come in the environment, as the suite hands them to every client.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import Any

import mcp.types as types
from gateway import Gateway
from mcp.client.client import Client
from mcp.shared.exceptions import MCPError
from pydantic import ValidationError

MODERN = "2026-07-28"


async def confirm(context: Any, params: Any) -> types.ElicitResult:
    """Accepts, with the defaults that the form offers."""
    fields = params.requested_schema["properties"]
    content = {name: field.get("default", True) for name, field in fields.items()}
    return types.ElicitResult(action="accept", content=content)


def placeholder(schema: dict[str, Any]) -> dict[str, Any]:
    """Arguments that fit the required properties."""
    values = {"string": "text", "integer": 1, "number": 1.5, "boolean": True, "object": {}, "array": [], "null": None}
    properties = schema.get("properties", {})
    return {name: values.get(properties[name].get("type"), "text") for name in schema.get("required", [])}


async def use_everything(client: Client) -> None:
    """Lists what there is, and uses one of each."""
    for tool in (await client.list_tools()).tools[:1]:
        await client.call_tool(tool.name, placeholder(tool.input_schema))
    for resource in (await client.list_resources()).resources[:1]:
        await client.read_resource(resource.uri)
    for prompt in (await client.list_prompts()).prompts[:1]:
        await client.get_prompt(prompt.name)


async def call_every_tool(client: Client) -> None:
    for tool in (await client.list_tools()).tools:
        try:
            await client.call_tool(tool.name, placeholder(tool.input_schema))
        except ValidationError as error:
            # mcp 2.3 wants a resultType, which the revision lets a server leave out.
            print(f"the SDK does not take the answer of {tool.name}: {error}", file=sys.stderr)


async def call_as_told(client: Client) -> None:
    await client.list_tools()
    for call in json.loads(os.environ["MCP_CONFORMANCE_CONTEXT"])["toolCalls"]:
        await client.call_tool(call["name"], call["arguments"])


async def echo_schema(client: Client) -> None:
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    schema = tools["json_schema_2020_12_tool"].input_schema
    await client.call_tool("json_schema_echo", {"schema": schema})


async def list_tools(client: Client) -> None:
    await client.list_tools()


STEPS = {
    "http-standard-headers": use_everything,
    "http-custom-headers": call_as_told,
    "json-schema-2020-12-preservation": echo_schema,
    "initialize": list_tools,
    "json-schema-ref-no-deref": list_tools,
    "request-metadata": list_tools,
}


async def drive(url: str, mode: str, steps: Any) -> None:
    async with Client(url, mode=mode, elicitation_callback=confirm, read_timeout_seconds=20) as client:
        await steps(client)


def main() -> None:
    binary, upstream = sys.argv[1:3]
    modern = os.environ["MCP_CONFORMANCE_PROTOCOL_VERSION"] == MODERN
    steps = STEPS.get(os.environ["MCP_CONFORMANCE_SCENARIO"], call_every_tool)
    # One worker says everything once, so that the suite sees no probe beside what it counts.
    server: dict[str, Any] = {"url": upstream, "default": True, "era": "modern", "pool": {"max_size": 1}}
    if not modern:
        server |= {"era": "legacy", "state": "session"}
    with Gateway(binary, {"suite": server}) as gateway:
        try:
            asyncio.run(drive(gateway.url("suite"), MODERN if modern else "legacy", steps))
        except MCPError as error:
            gateway.tail()
            sys.exit(f"{error.code} {error.message}")


if __name__ == "__main__":
    main()
