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
import json
import re
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import mcp_types as types
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import NotificationOptions, Server
from mcp.server.request_state import RequestStateBoundary, RequestStateSecurity
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler, PromptsListChanged, ToolsListChanged
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

gc.freeze()
gc.enable()
warnings.simplefilter("ignore", MCPDeprecationWarning)  # logging and sampling are deprecated, and tested here

NAME = "conformance-worker"
# Fixed, because several processes serve one client: state sealed by one has to open in another.
STATE_KEY = "a key of the test fixtures that protects nothing, 32 bytes or more"

# The smallest valid files of their kind: a 1x1 red PNG and a WAV of one silent sample.
PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
WAV = "UklGRiYAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQIAAAAAAA=="

Ctx = ServerRequestContext[Any, Any]
Answer = types.CallToolResult | types.InputRequiredResult
bus = InMemorySubscriptionBus()


def modern(ctx: Ctx) -> bool:
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS


def text(value: str) -> types.TextContent:
    return types.TextContent(text=value)


def said(*content: Any, error: bool = False) -> types.CallToolResult:
    items = [text(item) if isinstance(item, str) else item for item in content]
    return types.CallToolResult(content=items, is_error=error)


def image() -> types.ImageContent:
    return types.ImageContent(data=PNG, mime_type="image/png")


def embedded(uri: str, mime_type: str, body: str) -> types.EmbeddedResource:
    return types.EmbeddedResource(resource=types.TextResourceContents(uri=uri, mime_type=mime_type, text=body))


def form(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


# -- tools -----------------------------------------------------------------------------------------------------

TOOLS: dict[str, types.Tool] = {}
CALLS: dict[str, Callable[[Ctx, types.CallToolRequestParams], Awaitable[Answer]]] = {}


def tool(name: str, description: str, schema: dict[str, Any] | None = None):
    """Registers the decorated function as a tool; insertion order is the order of tools/list."""

    def register(function):
        TOOLS[name] = types.Tool(
            name=name, description=description, input_schema=schema or {"type": "object", "properties": {}}
        )
        CALLS[name] = function
        return function

    return register


def argument(params: types.CallToolRequestParams, name: str, kind: type | tuple[type, ...] = str) -> Any:
    value = (params.arguments or {}).get(name)
    if not isinstance(value, kind) or isinstance(value, bool) != (kind is bool):
        raise MCPError(types.INVALID_PARAMS, f"tool '{params.name}' needs the argument '{name}'")
    return value


@tool("test_simple_text", "Returns one text item.")
async def simple_text(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    return said("This is a simple text response for testing.")


@tool("test_image_content", "Returns one PNG image.")
async def image_content(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    return said(image())


@tool("test_audio_content", "Returns one WAV sound.")
async def audio_content(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    return said(types.AudioContent(data=WAV, mime_type="audio/wav"))


@tool("test_embedded_resource", "Returns one embedded resource.")
async def embedded_resource(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    return said(embedded("test://embedded-resource", "text/plain", "This is an embedded resource content."))


@tool("test_multiple_content_types", "Returns a text, an image and a resource.")
async def multiple_content_types(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    body = json.dumps({"test": "data", "value": 123}, separators=(",", ":"))
    resource = embedded("test://mixed-content-resource", "application/json", body)
    return said("Multiple content types test:", image(), resource)


@tool("test_error_handling", "Always fails.")
async def error_handling(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    return said("This tool intentionally returns an error for testing", error=True)


async def log(ctx: Ctx, message: str) -> None:
    await ctx.session.send_log_message("info", message, logger=NAME, related_request_id=ctx.request_id)


@tool("test_tool_with_logging", "Logs three messages while it runs.")
@tool("test_logging_tool", "Logs three messages if the request asked for logs.")
async def with_logging(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    await log(ctx, "Tool execution started")
    await anyio.sleep(0.05)
    await log(ctx, "Tool processing data")
    await anyio.sleep(0.05)
    await log(ctx, "Tool execution completed")
    return said("Tool with logging executed successfully")


@tool("test_tool_with_progress", "Reports progress 0, 50 and 100 of 100 if the request has a token.")
async def with_progress(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    for progress in (0, 50, 100):
        await ctx.session.report_progress(progress, 100, f"Completed step {progress} of 100")
        await anyio.sleep(0.05)
    return said("Tool with progress executed successfully")


@tool("test_reconnection", "Asks the transport to close the stream in mid-call, then answers.")
async def reconnection(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    if ctx.close_sse_stream is not None:
        await ctx.close_sse_stream()
    await anyio.sleep(0.1)
    return said("Reconnection test completed")


# Requests to the client in mid-call: the handshake era only; the modern one has input_required for this.


def need(ctx: Ctx, capability: str) -> None:
    """Refuses with -32021 when the client did not declare the capability."""
    if not ctx.session.check_client_capability(types.ClientCapabilities.model_validate({capability: {}})):
        raise MCPError(
            types.MISSING_REQUIRED_CLIENT_CAPABILITY,
            f"This tool needs the client capability '{capability}'",
            data={"requiredCapabilities": {capability: {}}},
        )


@tool("test_sampling", "Asks the client's model and returns its answer.", form(prompt={"type": "string"}))
async def sampling(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    need(ctx, "sampling")
    message = types.SamplingMessage(role="user", content=text(argument(params, "prompt")))
    answer = await ctx.session.create_message([message], max_tokens=100, related_request_id=ctx.request_id)
    return said(f"LLM response: {getattr(answer.content, 'text', '')}")


async def elicit(ctx: Ctx, message: str, schema: dict[str, Any], prefix: str) -> Answer:
    need(ctx, "elicitation")
    answer = await ctx.session.elicit_form(message, schema, related_request_id=ctx.request_id)
    return said(f"{prefix}: action={answer.action}, content={json.dumps(answer.content or {})}")


@tool("test_elicitation", "Asks the user for a name and an address.", form(message={"type": "string"}))
async def elicitation(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    schema = form(
        username={"type": "string", "description": "User's response"},
        email={"type": "string", "description": "User's email address"},
    )
    return await elicit(ctx, argument(params, "message"), schema, "User response")


@tool("test_elicitation_sep1034_defaults", "Asks with a default for every primitive type.")
async def elicitation_defaults(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    schema = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "description": "User name", "default": "John Doe"},
            "age": {"type": "integer", "description": "User age", "default": 30},
            "score": {"type": "number", "description": "User score", "default": 95.5},
            "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
            "verified": {"type": "boolean", "description": "Verified or not", "default": True},
        },
        "required": [],
    }
    return await elicit(ctx, "Please review the defaults", schema, "Elicitation completed")


@tool("test_elicitation_sep1330_enums", "Asks with all five forms of an enumeration.")
async def elicitation_enums(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    options = ["option1", "option2", "option3"]

    def titled(noun: str) -> list[dict[str, str]]:
        ordinals = ("First", "Second", "Third")
        return [{"const": f"value{n}", "title": f"{word} {noun}"} for n, word in enumerate(ordinals, 1)]

    schema = {
        "type": "object",
        "properties": {
            "untitledSingle": {"type": "string", "enum": options},
            "titledSingle": {"type": "string", "oneOf": titled("Option")},
            "legacyEnum": {
                "type": "string",
                "enum": ["opt1", "opt2", "opt3"],
                "enumNames": ["Option One", "Option Two", "Option Three"],
            },
            "untitledMulti": {"type": "array", "items": {"type": "string", "enum": options}},
            "titledMulti": {"type": "array", "items": {"anyOf": titled("Choice")}},
        },
        "required": [],
    }
    return await elicit(ctx, "Please choose", schema, "Elicitation completed")


@tool("json_schema_2020_12_tool", "Tool with JSON Schema 2020-12 features", {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
})
async def json_schema(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    return said(json.dumps(params.arguments or {}, sort_keys=True))


@tool("test_x_mcp_header", "Has arguments that a modern client mirrors into headers.", {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
    },
    "required": ["region"],
})
async def x_mcp_header(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    return said(f"region={argument(params, 'region')}")


@tool("test_missing_capability", "Refuses unless the client declared sampling.")
async def missing_capability(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    need(ctx, "sampling")
    return said("The client declared sampling")


@tool("test_trigger_tool_change", "Announces that the list of tools has changed.")
async def trigger_tool_change(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    if modern(ctx):
        await bus.publish(ToolsListChanged())
    else:
        await ctx.session.send_tool_list_changed()
    return said("Announced a change of the tools")


@tool("test_trigger_prompt_change", "Announces that the list of prompts has changed.")
async def trigger_prompt_change(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    if modern(ctx):
        await bus.publish(PromptsListChanged())
    else:
        await ctx.session.send_prompt_list_changed()
    return said("Announced a change of the prompts")


# -- input_required (modern era) -------------------------------------------------------------------------------


def ask(message: str, **properties: dict[str, Any]) -> types.ElicitRequest:
    return types.ElicitRequest(
        params=types.ElicitRequestFormParams(message=message, requested_schema=form(**properties))
    )


def ask_model(question: str, max_tokens: int) -> types.CreateMessageRequest:
    message = types.SamplingMessage(role="user", content=text(question))
    return types.CreateMessageRequest(
        params=types.CreateMessageRequestParams(messages=[message], max_tokens=max_tokens)
    )


def ask_roots() -> types.ListRootsRequest:
    return types.ListRootsRequest(params=types.RequestParams())


def required(ctx: Ctx, state: str | None = None, **requests: Any) -> types.InputRequiredResult:
    if not modern(ctx):
        raise MCPError(types.INVALID_REQUEST, f"{ctx.method} with input_required needs protocol 2026-07-28")
    return types.InputRequiredResult(input_requests=requests, request_state=state)


def filled(params: Any, key: str, field: str, kind: type = str) -> Any:
    """The field of an accepted form, or None if this response is missing or does not fit."""
    response = (params.input_responses or {}).get(key)
    if not isinstance(response, types.ElicitResult) or response.action != "accept":
        return None
    value = (response.content or {}).get(field)
    return value if isinstance(value, kind) else None


@tool("test_input_required_result_elicitation", "Asks for a name, then greets.")
@tool("test_streaming_elicitation", "Asks for a name in its result, never as a request of its own.")
async def required_elicitation(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    name = filled(params, "user_name", "name")
    if name is None:
        return required(ctx, user_name=ask("What is your name?", name={"type": "string"}))
    return said(f"Hello, {name}!")


@tool("test_input_required_result_sampling", "Asks the client's model for a capital.")
async def required_sampling(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    response = (params.input_responses or {}).get("capital_question")
    if not isinstance(response, types.CreateMessageResult | types.CreateMessageResultWithTools):
        return required(ctx, capital_question=ask_model("What is the capital of France?", 100))
    return said(f"The model said: {getattr(response.content, 'text', response.content)}")


@tool("test_input_required_result_list_roots", "Asks for the client's roots.")
async def required_roots(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    response = (params.input_responses or {}).get("client_roots")
    if not isinstance(response, types.ListRootsResult):
        return required(ctx, client_roots=ask_roots())
    return said("Roots: " + ", ".join(str(root.uri) for root in response.roots))


@tool("test_input_required_result_request_state", "Asks for a confirmation and checks its own state.")
async def required_state(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    if filled(params, "confirm", "ok", bool) is None or params.request_state != "confirming":
        return required(ctx, "confirming", confirm=ask("Please confirm", ok={"type": "boolean"}))
    return said("state-ok")


@tool("test_input_required_result_tampered_state", "Hands out a state whose forgery is refused.")
async def required_tampered(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    # A forged state never gets here: the boundary that seals it refuses with -32602.
    if params.request_state != "sealed":
        return required(ctx, "sealed", confirm=ask("Please confirm", ok={"type": "boolean"}))
    return said("state-ok")


@tool("test_input_required_result_multiple_inputs", "Asks for a name, a greeting and roots at once.")
async def required_multiple(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    asked = {
        "user_name": ask("What is your name?", name={"type": "string"}),
        "greeting": ask_model("Generate a greeting", 50),
        "client_roots": ask_roots(),
    }
    missing = {key: request for key, request in asked.items() if key not in (params.input_responses or {})}
    if missing or params.request_state != "three":
        return required(ctx, "three", **(missing or asked))
    return said("Received " + ", ".join(sorted(asked)))


@tool("test_input_required_result_multi_round", "Asks for a name, then for a colour.")
async def required_rounds(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    state = json.loads(params.request_state or "{}")
    name = state.get("name") or filled(params, "step1", "name")
    if name is None:
        return required(ctx, json.dumps({"round": 1}), step1=ask("Step 1: What is your name?", name={"type": "string"}))
    color = filled(params, "step2", "color")
    if color is None:
        question = ask("Step 2: What is your favorite color?", color={"type": "string"})
        return required(ctx, json.dumps({"round": 2, "name": name}), step2=question)
    return said(f"{name} likes {color}")


@tool("test_input_required_result_capabilities", "Asks only for what the client declared.")
async def required_capabilities(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    declared = ctx.session.client_capabilities or types.ClientCapabilities()
    asked: dict[str, Any] = {}
    if declared.sampling is not None:
        asked["question"] = ask_model("Say something", 20)
    if declared.elicitation is not None:
        asked["user_name"] = ask("What is your name?", name={"type": "string"})
    if declared.roots is not None:
        asked["client_roots"] = ask_roots()
    if asked and not params.input_responses:
        return required(ctx, **asked)
    return said("Asked for nothing more")


# -- plain tools for the client matrix: last in the list, because the suite calls the first one without arguments ----

@tool("echo", "Returns its text, optionally after a delay.", {
    "type": "object",
    "properties": {"text": {"type": "string"}, "delay_ms": {"type": "integer", "minimum": 0, "maximum": 60000}},
    "required": ["text"],
})
async def echo(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    await anyio.sleep((params.arguments or {}).get("delay_ms", 0) / 1000)
    return said(argument(params, "text"))


@tool("add", "Adds two numbers.", form(a={"type": "number"}, b={"type": "number"}))
async def add(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    return said(str(argument(params, "a", (int, float)) + argument(params, "b", (int, float))))


# -- resources -------------------------------------------------------------------------------------------------

RESOURCES = [
    types.Resource(
        uri="test://static-text", name="static-text", description="A static text", mime_type="text/plain"
    ),
    types.Resource(
        uri="test://static-binary", name="static-binary", description="A static image", mime_type="image/png"
    ),
    types.Resource(
        uri="test://watched-resource", name="watched-resource", description="May be subscribed", mime_type="text/plain"
    ),
]
TEMPLATE = re.compile(r"test://template/([^/]+)/data")


async def list_resources(ctx: Ctx, params: Any) -> types.ListResourcesResult:
    return types.ListResourcesResult(resources=RESOURCES)


async def list_templates(ctx: Ctx, params: Any) -> types.ListResourceTemplatesResult:
    template = types.ResourceTemplate(
        uri_template="test://template/{id}/data",
        name="template",
        description="Data by its id",
        mime_type="application/json",
    )
    return types.ListResourceTemplatesResult(resource_templates=[template])


async def read_resource(ctx: Ctx, params: types.ReadResourceRequestParams) -> types.ReadResourceResult:
    uri = str(params.uri)

    def body(mime_type: str, value: str) -> types.ReadResourceResult:
        return types.ReadResourceResult(
            contents=[types.TextResourceContents(uri=uri, mime_type=mime_type, text=value)]
        )

    if uri == "test://static-text":
        return body("text/plain", "This is the content of the static text resource.")
    if uri == "test://static-binary":
        return types.ReadResourceResult(
            contents=[types.BlobResourceContents(uri=uri, mime_type="image/png", blob=PNG)]
        )
    if uri == "test://watched-resource":
        return body("text/plain", "Watched resource content")
    if match := TEMPLATE.fullmatch(uri):
        value = {"id": match[1], "templateTest": True, "data": f"Data for ID: {match[1]}"}
        return body("application/json", json.dumps(value))
    raise MCPError(types.INVALID_PARAMS, "Resource not found", data={"uri": uri})


async def subscribe(ctx: Ctx, params: Any) -> types.EmptyResult:
    return types.EmptyResult()


# -- prompts ---------------------------------------------------------------------------------------------------


def prompt(name: str, description: str, **arguments: str) -> types.Prompt:
    return types.Prompt(
        name=name,
        description=description,
        arguments=[types.PromptArgument(name=key, description=value, required=True) for key, value in arguments.items()],
    )


PROMPTS = [
    prompt("test_simple_prompt", "A prompt without arguments"),
    prompt("test_prompt_with_arguments", "A prompt with arguments", arg1="First test argument", arg2="Second test argument"),
    prompt("test_prompt_with_embedded_resource", "A prompt with a resource", resourceUri="URI of the resource to embed"),
    prompt("test_prompt_with_image", "A prompt with an image"),
    prompt("test_input_required_result_prompt", "A prompt that asks back"),
]


async def list_prompts(ctx: Ctx, params: Any) -> types.ListPromptsResult:
    return types.ListPromptsResult(prompts=PROMPTS)


async def get_prompt(
    ctx: Ctx, params: types.GetPromptRequestParams
) -> types.GetPromptResult | types.InputRequiredResult:
    given = params.arguments or {}
    listed = next((item for item in PROMPTS if item.name == params.name), None)
    if listed is None:
        raise MCPError(types.INVALID_PARAMS, f"Unknown prompt: {params.name}")
    for wanted in listed.arguments or []:
        if wanted.name not in given:
            raise MCPError(types.INVALID_PARAMS, f"prompt '{params.name}' needs the argument '{wanted.name}'")

    def messages(*content: Any) -> types.GetPromptResult:
        items = [text(item) if isinstance(item, str) else item for item in content]
        return types.GetPromptResult(messages=[types.PromptMessage(role="user", content=item) for item in items])

    match params.name:
        case "test_simple_prompt":
            return messages("This is a simple prompt for testing.")
        case "test_prompt_with_arguments":
            return messages(f"Prompt with arguments: arg1='{given['arg1']}', arg2='{given['arg2']}'")
        case "test_prompt_with_embedded_resource":
            resource = embedded(given["resourceUri"], "text/plain", "Embedded resource content for testing.")
            return messages(resource, "Please process the embedded resource above.")
        case "test_prompt_with_image":
            return messages(image(), "Please analyze the image above.")
    context = filled(params, "user_context", "context")
    if context is None:
        question = ask("What context should the prompt use?", context={"type": "string"})
        return required(ctx, user_context=question)
    return messages(f"Prompt with context: {context}")


async def complete(ctx: Ctx, params: types.CompleteRequestParams) -> types.CompleteResult:
    known = ["paris", "park", "party"]
    values = [value for value in known if value.startswith(params.argument.value)]
    return types.CompleteResult(completion=types.Completion(values=values, total=len(values), has_more=False))


# -- server ----------------------------------------------------------------------------------------------------


async def list_tools(ctx: Ctx, params: Any) -> types.ListToolsResult:
    return types.ListToolsResult(tools=list(TOOLS.values()))


async def call_tool(ctx: Ctx, params: types.CallToolRequestParams) -> Answer:
    if params.name not in CALLS:
        raise MCPError(types.INVALID_PARAMS, f"Unknown tool: {params.name}")
    return await CALLS[params.name](ctx, params)


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
        get_tool_input_schema=lambda name: TOOLS[name].input_schema if name in TOOLS else None,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
        on_list_resources=list_resources,
        on_list_resource_templates=list_templates,
        on_read_resource=read_resource,
        on_subscribe_resource=subscribe,
        on_unsubscribe_resource=subscribe,
        on_subscriptions_listen=ListenHandler(bus),
        on_list_prompts=list_prompts,
        on_get_prompt=get_prompt,
        on_completion=complete,
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
