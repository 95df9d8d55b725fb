"""The examples of the description, played from first to last against the whole service.

Every call is sent as it is written, and every answer has to be the one that is written. Three kinds
of text are another each time: what the service makes up (`MADE`), which is told apart by where it
first comes in an answer and put in the place of the example's from then on; the address of bob's
receiver, which is one of ours; and values that tell a time or a measure (`PASSING`), of which the
kind is compared.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from app.api.app import ALL_CALLS
from app.api.schemas.access import MadeKey, Token
from app.api.schemas.examples import (
    ENDPOINT,
    ENDPOINT_ID,
    KEY,
    KEY_ID,
    POST_ID,
    SECRET,
    example_of,
)
from app.api.story import ADMIN, CUSTOMERS, OTHER_ENDPOINT_ID, STORY, Step
from app.store.client import Store
from tests.api.description import DOCUMENT, check_answer, validator
from tests.flows.service import Service, serve
from tests.receivers import Receiver, gated, status

URL = ENDPOINT["url"]
MADE = (POST_ID, ENDPOINT_ID, KEY_ID, SECRET, example_of(MadeKey)[0]["key"], KEY["hint"])
MADE += (example_of(Token)[0]["token"], ADMIN["id"], ADMIN["hint"])
MADE += (CUSTOMERS["id"], CUSTOMERS["hint"], CUSTOMERS["key"], OTHER_ENDPOINT_ID)
PASSING = {
    *("created_at", "updated_at", "expires_at", "at", "next_attempt_at", "first_failure_at"),
    *("last_success_at", "next_at", "seen_at", "duration_ms", "epoch", "detail", "token"),
    *("secret", "delivery"),
}
# What they tell depends on the machine and its load: the first of each list is compared, by kind.
OF_THE_MOMENT = {"operations_stats", "endpoints_verify"}
WITHOUT_EXAMPLES = {"operations_metrics", "operations_openapi", "operations_asyncapi"}
READ_S = 10.0  # until what is read has become so
FIRST_OF_THE_WORKER = "endpoints_of_user"

SETTINGS = {"retry_schedule_s": "60", "author_burst": 1, "author_rate_per_s": 0.001}


class Teller:
    """Plays steps, and knows what stands for what."""

    def __init__(self, receiver: Receiver) -> None:
        self.names = {URL: receiver.url}

    def real(self, value: Any) -> Any:
        """An example's value with what is real in the place of what the example makes up."""
        text = json.dumps(value)
        for example, real in sorted(self.names.items(), key=lambda one: -len(one[0])):
            text = text.replace(example, real)
        return json.loads(text)

    def learn(self, example: Any, answer: Any) -> None:
        for shown, real in pairs(example, answer):
            if shown in MADE and isinstance(real, str):
                self.names[shown] = real

    async def play(self, service: Service, step: Step) -> None:
        """Does what the step says; what is only read may take a while to become so."""

        is_read = OPERATIONS[step.operation][0] == "get"
        difference = await self._played(service, step)
        deadline = time.monotonic() + READ_S
        while difference and is_read and time.monotonic() < deadline:
            await asyncio.sleep(0.02)
            difference = await self._played(service, step)
        assert not difference, f"{step.title}: {difference}"

    async def _played(self, service: Service, step: Step) -> str | None:
        return self._difference(step, await self._send(service, step))

    async def _send(self, service: Service, step: Step) -> httpx.Response:
        method, path = OPERATIONS[step.operation]
        content = step.body
        if isinstance(content, list):
            content = "\n".join(json.dumps(self.real(line)) for line in content)
        elif content is not None:
            content = json.dumps(self.real(content))
        headers = self.real(dict(step.headers))
        if not step.has_key:
            headers["authorization"] = ""
        request = service.http.build_request(
            method,
            path.format(**self.real(dict(step.path))),
            params=self.real(dict(step.query)),
            content=content,
            headers=headers,
        )
        if not step.has_key:
            del request.headers["authorization"]
        answer = await service.http.send(request)
        await check_answer(answer)
        return answer

    def _difference(self, step: Step, answer: httpx.Response) -> str | None:
        if answer.status_code != step.status:
            return f"{answer.status_code} instead of {step.status}: {answer.text}"
        if step.answer is None:
            return None if answer.content == b"" else "an answer where none is shown"
        found = answer.json()
        self.learn(step.answer, found)
        is_exact = step.operation not in OF_THE_MOMENT
        return next(differences(self.real(step.answer), found, "answer", is_exact), None)


OPERATIONS = {
    operation["operationId"]: (method, path)
    for path, item in DOCUMENT["paths"].items()
    for method, operation in item.items()
}


def pairs(example: Any, answer: Any) -> Iterator[tuple[Any, Any]]:
    """The values that stand in the same place."""
    if isinstance(example, dict) and isinstance(answer, dict):
        for name in example.keys() & answer.keys():
            yield from pairs(example[name], answer[name])
    elif isinstance(example, list) and isinstance(answer, list):
        for one, other in zip(example, answer, strict=False):
            yield from pairs(one, other)
    elif isinstance(example, str):
        yield example, answer


def differences(example: Any, answer: Any, at: str, is_exact: bool) -> Iterator[str]:
    """What an answer has that the example has not, or has otherwise."""
    if isinstance(example, dict) and isinstance(answer, dict):
        if example.keys() != answer.keys():
            yield f"{at} has {sorted(answer)} instead of {sorted(example)}"
        for name in example.keys() & answer.keys():
            exactly = is_exact and name not in PASSING
            yield from differences(example[name], answer[name], f"{at}.{name}", exactly)
    elif isinstance(example, list) and isinstance(answer, list):
        if is_exact and len(example) != len(answer):
            yield f"{at} has {len(answer)} items instead of {len(example)}: {answer}"
        for number, (one, other) in enumerate(zip(example, answer, strict=False)):
            yield from differences(one, other, f"{at}[{number}]", is_exact)
    elif kind(example) != kind(answer) or (is_exact and example != answer):
        yield f"{at} is {answer!r} instead of {example!r}"


def kind(value: Any) -> str:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return "number" if is_number else type(value).__name__


async def test_the_story_of_the_examples_comes_true(single_store: Store):
    steps = list(STORY)
    later = next(
        number for number, step in enumerate(steps) if step.operation == FIRST_OF_THE_WORKER
    )
    retried = asyncio.Event()  # so that it is still under way when the call for it is answered
    script = (status(503, body=b"come back later"), status(), gated(retried))
    async with Receiver(*script) as receiver:
        teller = Teller(receiver)
        async with serve(single_store, with_worker=False, **SETTINGS) as service:
            for step in steps[:later]:
                await teller.play(service, step)
        async with serve(single_store, **SETTINGS) as service:
            for step in steps[later:]:
                await teller.play(service, step)
                if step.operation == "deliveries_retry":
                    retried.set()
                elif step.title == "An endpoint that did not echo":
                    receiver.echoes = True
    assert {real for example, real in teller.names.items() if example in MADE}.isdisjoint(MADE)
    assert set(MADE) <= set(teller.names)


def test_every_call_has_an_example_of_how_it_goes_well():
    well = {step.operation for step in STORY if step.status < 300}
    assert well == set(OPERATIONS) - WITHOUT_EXAMPLES
    assert set(OPERATIONS) >= WITHOUT_EXAMPLES


def test_every_example_stands_in_the_description():
    names: dict[str, set[str]] = {}
    for step in STORY:
        method, path = OPERATIONS[step.operation]
        operation = DOCUMENT["paths"][path][method]
        assert step.name not in names.setdefault(step.operation, set())
        names[step.operation].add(step.name)
        described = operation["responses"][str(step.status)]
        if "$ref" in described:
            name = described["$ref"].rpartition("/")[2]
            described = DOCUMENT["components"]["responses"][name]
        for content in described.get("content", {}).values():
            assert content["examples"][step.name]["value"] == step.answer
            validator(content["schema"]["$ref"]).validate(step.answer)
        if step.status < 300 and isinstance(step.body, dict):
            content = operation["requestBody"]["content"]["application/json"]
            assert content["examples"][step.name]["value"] == step.body
            validator(content["schema"]["$ref"]).validate(step.body)


@pytest.mark.parametrize("name", list(DOCUMENT["components"]["responses"]))
def test_every_kind_of_refusal_has_an_example(name: str):
    [content] = DOCUMENT["components"]["responses"][name]["content"].values()
    assert content["examples"]


@pytest.mark.parametrize(
    ("example", "answer", "told"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, "answer has"),
        ({"a": 1}, {}, "answer has"),
        ({"a": 1}, {"a": "1"}, "answer.a is '1'"),
        ({"a": 1}, {"a": True}, "answer.a is True"),
        ({"a": "x"}, {"a": "y"}, "answer.a is 'y'"),
        ({"at": "x"}, {"at": None}, "answer.at is None"),
        ({"a": [1]}, {"a": []}, "answer.a has 0 items"),
    ],
)
def test_an_answer_that_is_another_is_found(example: Any, answer: Any, told: str):
    assert told in next(differences(example, answer, "answer", True))
    assert list(differences(example, example, "answer", True)) == []


def test_the_story_is_about_calls_that_there_are():
    assert {step.operation for step in STORY} <= set(OPERATIONS)
    assert len(OPERATIONS) == len(ALL_CALLS)
