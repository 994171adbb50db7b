"""Calls tools in one connection and prints the answers as JSON: TARGET CALLS.

TARGET is a URL, or a JSON object {"command", "args", "env"} of a stdio server. CALLS is a JSON array of
[tool, arguments]. An answer is {"text", "structured", "is_error"} or {"code", "text"}.
"""

import asyncio
import json
import sys

from mcp import StdioServerParameters
from mcp.client.client import Client
from mcp.client.stdio import stdio_client
from mcp.shared.exceptions import MCPError


async def main() -> None:
    target, calls = sys.argv[1:3]
    if target.startswith("{"):
        target = stdio_client(StdioServerParameters(**json.loads(target)))
    answers = []
    async with Client(target) as client:
        for tool, arguments in json.loads(calls):
            try:
                result = await client.call_tool(tool, arguments)
            except MCPError as error:
                answers.append({"code": error.code, "text": error.message})
                continue
            text = "".join(item.text for item in result.content if item.type == "text")
            answers.append({"text": text, "structured": result.structured_content, "is_error": result.is_error})
        print(json.dumps({"version": client.protocol_version, "answers": answers}))


asyncio.run(main())
