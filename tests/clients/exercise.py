"""What every Python SDK client has to do against a server, and what it has to get back.

It owns the steps and their checks; how an SDK spells a call is the driver's business.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ABSENT_TOOL = "no_such_tool"


@dataclass
class Reply:
    """A tool's answer, or the JSON-RPC error that came instead (then `code` is set)."""

    text: str
    is_error: bool = False
    code: int | None = None


@dataclass
class Adapter:
    """One SDK's way to do the four things the steps need."""

    version: Callable[[], str | None]
    tool_names: Callable[[], Awaitable[list[str]]]
    call: Callable[[str, dict[str, Any], Callable[[float, float | None], None] | None], Awaitable[Reply]]


def reply_of(result: Any) -> Reply:
    """The reply in a CallToolResult of any SDK (1.x spells isError, 2.x is_error)."""
    is_error = getattr(result, "is_error", None)
    if is_error is None:
        is_error = getattr(result, "isError", False)
    return Reply("".join(item.text for item in result.content if item.type == "text"), bool(is_error))


def expect(step: str, got: Any, wanted: Any) -> None:
    if got != wanted:
        sys.exit(f"{step}: expected {wanted!r}, got {got!r}")


async def exercise(client: Adapter, server: str, version: str) -> None:
    """Runs all steps; leaves the process with a message at the first wrong answer."""
    wanted = json.loads(Path(__file__).with_name("expectations.json").read_text())[server]

    expect("connect", client.version(), version)
    print("ok connect", version)

    names = await client.tool_names()
    missing = [name for name in wanted["tools"] if name not in names]
    expect("list: missing tools", missing, [])
    print("ok list", len(names))

    tool, arguments, answer = wanted["call"]
    expect("call", await client.call(tool, arguments, None), Reply(answer))
    print("ok call")

    tool, arguments, steps = wanted["progress"]
    seen: list[list[float | None]] = []
    reply = await client.call(tool, arguments, lambda progress, total: seen.append([progress, total]))
    expect("progress: answer is an error", reply.is_error, False)
    # A progress callback is a task of its own in some SDKs and may run just after the answer.
    for _ in range(100):
        if len(seen) >= len(steps):
            break
        await asyncio.sleep(0.01)
    expect("progress", seen, steps)
    print("ok progress", len(seen))

    asked = wanted["parallel"]
    replies = await asyncio.gather(*(client.call(tool, arguments, None) for tool, arguments, _ in asked))
    expect("parallel", replies, [Reply(answer) for _, _, answer in asked])
    print("ok parallel", len(replies))

    reply = await client.call(ABSENT_TOOL, {}, None)
    if "code" in wanted["unknown"]:
        expect("error: code", reply.code, wanted["unknown"]["code"])
    else:
        expect("error: is_error", reply.is_error, True)
    expect("error: names the tool", ABSENT_TOOL in reply.text, True)
    print("ok error")

    tool, arguments, answer = wanted["call"]
    expect("call after the error", await client.call(tool, arguments, None), Reply(answer))


def main(drive: Callable[[str, str, str, str], Awaitable[None]]) -> None:
    """Entry of each driver: URL ERA SERVER VERSION on the command line."""
    url, era, server, version = sys.argv[1:5]
    asyncio.run(drive(url, era, server, version))
    print("ok close", flush=True)
