"""A store that fails when a test says so, at our own seam: before a call has run, or after it."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from app.errors import ConnectionLost, StoreError, StoreUnavailable
from app.store.client import Call, Store


class Died(BaseException):
    """What no code of ours handles: from here on the store hears nothing, as after kill -9."""


@dataclass(slots=True)
class Fault:
    """The `nth` call that a word matches fails, and `times - 1` after it. `hits` counts those."""

    word: str
    nth: int
    times: int
    ran: bool
    error: BaseException
    seen: int = 0
    hits: int = 0


class FaultyStore:
    """Stands between a worker and its store. A word is a script's or a command's name."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._faults: list[Fault] = []
        self._held: dict[str, asyncio.Event] = {}
        self.calls: list[str] = []
        self.is_away = False
        self.is_dead = False

    def fail(
        self, word: str, *, nth: int = 1, times: int = 1, ran: bool = False, error: Any = None
    ) -> Fault:
        """With `ran` the call is carried out and its answer lost."""
        error = error or ConnectionLost(f"{word}, as the test wants it")
        fault = Fault(word, nth, times, ran, error)
        self._faults.append(fault)
        return fault

    def hold(self, word: str) -> asyncio.Event:
        """Calls that the word matches wait for the event that is returned."""
        return self._held.setdefault(word, asyncio.Event())

    async def _enter(self, words: Iterable[str]) -> BaseException | None:
        """Raises what has to come before the call; returns what has to come after it."""
        if self.is_dead:
            raise Died
        if self.is_away:
            raise StoreUnavailable("the store is away, as the test wants it")
        after = None
        for word in words:
            self.calls.append(word)
            if word in self._held:
                await self._held[word].wait()
            for fault in self._faults:
                if fault.word != word:
                    continue
                fault.seen += 1
                if fault.nth <= fault.seen < fault.nth + fault.times:
                    fault.hits += 1
                    self.is_dead |= isinstance(fault.error, Died)
                    if not fault.ran:
                        raise fault.error
                    after = fault.error
        return after

    async def call(self, script: str, *args: Any, **options: Any) -> Any:
        after = await self._enter([script])
        answer = await self._store.call(script, *args, **options)
        return _give(answer, after)

    async def call_many(
        self, calls: Iterable[Call], *, return_exceptions: bool = False, **options: Any
    ) -> list[Any]:
        listed = list(calls)
        try:
            after = await self._enter(call.script for call in listed)
        except StoreError as error:
            if not return_exceptions:
                raise
            return [error] * len(listed)
        answers = await self._store.call_many(
            listed, return_exceptions=return_exceptions, **options
        )
        if after is not None and return_exceptions:
            return [after] * len(listed)
        return _give(answers, after)

    async def run_many(self, commands: Iterable[Sequence[Any]], **options: Any) -> list[Any]:
        listed = [tuple(command) for command in commands]
        after = await self._enter(str(command[0]) for command in listed)
        answers = await self._store.run_many(listed, **options)
        return _give(answers, after)

    async def execute(self, *command: Any) -> Any:
        after = await self._enter([str(command[0])])
        return _give(await self._store.execute(*command), after)

    async def read_streams(self, streams: Mapping[bytes, bytes], **options: Any) -> Any:
        after = await self._enter(["XREAD"])
        return _give(await self._store.read_streams(streams, **options), after)

    def __getattr__(self, name: str) -> Any:
        """Whatever asks the store for nothing."""
        return getattr(self._store, name)

    def groups(self, shards: Iterable[int]) -> list[list[int]]:
        return self._store.groups(shards)

    async def broadcast(self, *command: Any) -> list[Any]:
        return await self._store.broadcast(*command)

    async def on_each(self, *command: Any) -> dict[str, Any]:
        after = await self._enter([str(command[0])])
        return _give(await self._store.on_each(*command), after)


def _give(answer: Any, error: BaseException | None) -> Any:
    if error is not None:
        raise error
    return answer
