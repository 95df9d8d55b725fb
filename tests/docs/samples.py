"""Samples of what is sent and answered, against the descriptions of calls and pushes."""

import json
import re
from typing import Any

from app.domain.signature import verify
from tests.api import pushed
from tests.api.description import DOCUMENT, validator
from tests.docs.blocks import Block

SECRET = re.compile(r"whsec_[A-Za-z0-9+/=]+")

_CALLS = {
    operation["operationId"]: operation
    for item in DOCUMENT["paths"].values()
    for operation in item.values()
}


def check_sample(block: Block) -> None:
    """Fails when there is no such message, or it has another shape."""
    match block.language, block.kind:
        case "json", "body":
            content = _CALLS[block.value]["requestBody"]["content"]
            validator(content["application/json"]["schema"]["$ref"]).validate(
                json.loads(block.text)
            )
        case "json", "answer":
            _check_answer(block)
        case "json", "frame":
            for line in block.text.splitlines():
                _check_frame(json.loads(line))
        case "json", "webhook":
            assert _webhook_of(json.loads(block.text))
        case "json", "echo":
            _check_echo(json.loads(block.text))
        case "http", "webhook":
            _check_request(block)
        case _:
            raise AssertionError(f"{block} is no sample")


def _check_answer(block: Block) -> None:
    """Of any success of the call, or of any refusal."""
    answer = json.loads(block.text)
    responses = _CALLS[block.value]["responses"]
    if "status" in answer and "title" in answer:
        assert str(answer["status"]) in responses
        validator("#/components/schemas/ProblemDocument").validate(answer)
        return
    [success] = [found for status, found in responses.items() if status < "300"]
    validator(success["content"]["application/json"]["schema"]["$ref"]).validate(answer)


def _check_frame(frame: Any) -> None:
    both = {**pushed.messages_of("push"), **pushed.messages_of("listen")}
    valid = [
        name
        for name, message in both.items()
        if pushed.validator(message["payload"]).is_valid(frame)
    ]
    assert len(valid) == 1, f"{frame} is {valid or 'no frame'}"


def _webhook_of(body: Any) -> str:
    """The operation that sends such a body. Fails when none does."""
    for operation in ("deliver", "ping", "challenge"):
        [message] = pushed.messages_of(operation).values()
        if pushed.validator(message["payload"]).is_valid(body):
            return operation
    raise AssertionError(f"{body} is sent by nobody")


def _check_echo(body: Any) -> None:
    [echo] = pushed.DOCUMENT["operations"]["challenge"]["reply"]["messages"]
    message = pushed.resolved(pushed.resolved(echo))
    pushed.validator(message["payload"]).validate(body)


def _check_request(block: Block) -> None:
    """A request line, headers, an empty line, the body; headers may have remarks behind two
    spaces. Its signature is made with the secret that stands in the page."""
    head, _, body = block.text.partition("\n\n")
    line, *lines = head.splitlines()
    assert line.split()[0] in ("POST", "PUT", "DELETE"), line
    headers = dict(one.partition("  ")[0].split(": ", 1) for one in lines)
    operation = _webhook_of(json.loads(body))
    [message] = pushed.messages_of(operation).values()
    known = set(message["headers"]["properties"])
    assert known <= set(headers), f"without {known - set(headers)}"
    pushed.validator(message["headers"]).validate(headers)
    secret = SECRET.search(block.page.read_text())
    assert secret, "no secret to check the signature with"
    sent_at = int(headers["webhook-timestamp"])
    assert verify(secret[0], headers, body.strip().encode(), sent_at)
