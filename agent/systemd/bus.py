"""What is asked of systemd over D-Bus, each answer awaited and bounded: the only module that speaks D-Bus.

org.freedesktop.systemd1(5). Runs on dbus-next and on dbus-fast, whichever is there. Either costs 50 ms and 12 MB with
its asyncio, so it is imported by a process that asks, never by the agent that stays.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from agent.errors import Refused, SettingsError, Unavailable
from agent.systemd.units import LIBRARIES, Property

T = TypeVar("T")

SYSTEMD, MANAGER_PATH = "org.freedesktop.systemd1", "/org/freedesktop/systemd1"
MANAGER, UNIT = f"{SYSTEMD}.Manager", f"{SYSTEMD}.Unit"
PROPERTIES = "org.freedesktop.DBus.Properties"
CALL_S = 25.0  # an answer of systemd's; a job takes as long as its unit
DONE = "done"  # other results of a job: canceled, timeout, failed, dependency, skipped


@dataclass(frozen=True, slots=True)
class UnitState:
    """systemd's words: active, inactive, failed …; enabled, disabled, static … or empty when there is no file."""

    active: str
    enabled: str


class Manager:
    """The systemd of this machine. Every method raises Unavailable without an answer, Refused when it says no."""

    def __init__(self, library: Any, bus: Any, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self._library = library
        self._bus = bus
        self._run = run
        self._results: dict[str, str] = {}
        self._ended = asyncio.Event()

    def start_transient(
        self, unit: str, properties: Sequence[Property], fds: Sequence[int], *, timeout_s: float
    ) -> str:
        """Start a unit that is described here alone; `fds` are what its `h` properties point to. Its job's result."""
        variant = self._library.Variant
        given = [[name, variant(signature, value)] for name, signature, value in properties]
        return self._job("StartTransientUnit", "ssa(sv)a(sa(sv))", [unit, "fail", given, []], timeout_s, fds)

    def act(self, verb: str, unit: str, *, timeout_s: float) -> str:
        """`verb` is one of systemctl's that make a job (start, try-restart …); the result of that job."""
        member = "".join(word.capitalize() for word in verb.split("-")) + "Unit"
        return self._job(member, "ss", [unit, "replace"], timeout_s)

    def kill(self, unit: str, signal: int) -> None:
        """A signal to every process of a unit."""
        self._call("KillUnit", "ssi", [unit, "all", signal])

    def enable(self, unit: str) -> None:
        self._call("EnableUnitFiles", "asbb", [[unit], False, True])
        self._call("Reload")

    def disable(self, unit: str) -> None:
        self._call("DisableUnitFiles", "asb", [[unit], False])
        self._call("Reload")

    def state(self, unit: str) -> UnitState:
        """How a unit is, whether or not there is such a one."""
        path = self._call("LoadUnit", "s", [unit])[0]
        active, enabled = (
            self._call("Get", "ss", [UNIT, name], path, PROPERTIES)[0] for name in ("ActiveState", "UnitFileState")
        )
        return UnitState(str(active.value), str(enabled.value))

    def why(self, unit: str) -> str:
        """What systemd holds against a service that failed, as the end of a sentence; "" when nothing."""
        path = self._call("LoadUnit", "s", [unit])[0]
        try:
            found = self._call("Get", "ss", [f"{SYSTEMD}.Service", "Result"], path, PROPERTIES)[0].value
        except Refused:  # it is no service
            return ""
        return "" if found == "success" else f" ({found})"

    # ------------------------------------------------------------------------------------- the conversation

    def listen(self) -> None:
        """Hear of every job that ends, from now on: the news of one may come before the answer that names it."""
        self._bus.add_message_handler(self._hear)
        rule = f"type='signal',sender='{SYSTEMD}',interface='{MANAGER}',member='JobRemoved'"
        self._call("AddMatch", "s", [rule], "/org/freedesktop/DBus", "org.freedesktop.DBus", "org.freedesktop.DBus")
        self._call("Subscribe")

    def _hear(self, message: Any) -> None:
        if message.member == "JobRemoved" and message.interface == MANAGER:
            self._results[message.body[1]] = str(message.body[3])
            self._ended.set()

    def _job(self, member: str, signature: str, body: list[Any], timeout_s: float, fds: Sequence[int] = ()) -> str:
        job = self._call(member, signature, body, fds=fds)[0]
        return str(self._run(self._result(job, f"{member} {body[0]}", timeout_s)))

    async def _result(self, job: str, what: str, timeout_s: float) -> str:
        async def wait() -> str:
            while job not in self._results:
                self._ended.clear()
                await self._ended.wait()
            return self._results[job]

        try:
            return await asyncio.wait_for(wait(), timeout_s)
        except asyncio.TimeoutError:
            raise Unavailable(f"{what}: systemd's job did not end within {timeout_s:.0f} s; see systemctl") from None

    def _call(
        self,
        member: str,
        signature: str = "",
        body: Sequence[Any] = (),
        path: str = MANAGER_PATH,
        interface: str = MANAGER,
        destination: str = SYSTEMD,
        fds: Sequence[int] = (),
    ) -> list[Any]:
        message = self._library.Message(
            destination=destination,
            path=path,
            interface=interface,
            member=member,
            signature=signature,
            body=list(body),
            unix_fds=list(fds),
        )
        reply = self._run(_answer(self._bus.call(message), f"asking systemd for {member}"))
        if reply.message_type is self._library.MessageType.ERROR:
            said = str(reply.body[0]) if reply.body else ""
            raise Refused(
                f"asking systemd for {member} {body[0] if body else ''}: {said} ({reply.error_name})", status=0
            )
        found: list[Any] = reply.body
        return found


@contextmanager
def connected(libraries: Sequence[str] = LIBRARIES) -> Iterator[Manager]:
    """The systemd of this machine, for as long as the `with` lasts.

    Raises Unavailable (nothing sent) where there is no bus, SettingsError where there is no library for it.
    """
    library = _library(libraries)
    loop = asyncio.new_event_loop()
    bus = None
    try:
        try:
            bus = loop.run_until_complete(_answer(_connect(library), "connecting to the system's D-Bus"))
            manager = Manager(library, bus, loop.run_until_complete)
            manager.listen()
        except Unavailable as exc:
            raise Unavailable(str(exc), sent=False) from exc
        yield manager
    finally:
        if bus is not None:
            bus.disconnect()
            loop.run_until_complete(asyncio.sleep(0))  # it closes its socket in the next turn
        loop.close()


async def _connect(library: Any) -> Any:
    bus = import_module(f"{library.__name__}.aio").MessageBus(bus_type=library.BusType.SYSTEM, negotiate_unix_fd=True)
    return await bus.connect()


def _library(names: Sequence[str]) -> Any:
    for name in names:
        try:
            return import_module(name)
        except ImportError:
            continue
    raise SettingsError("talking to systemd: neither dbus-next nor dbus-fast is installed; install the extra dbus")


async def _answer(question: Coroutine[Any, Any, T], what: str) -> T:
    try:
        return await asyncio.wait_for(question, CALL_S)
    except asyncio.TimeoutError:  # dbus-next waits for ever on a bus that has died
        raise Unavailable(f"{what}: no answer within {CALL_S:.0f} s; is dbus.service running?") from None
    except (OSError, EOFError) as exc:
        raise Unavailable(f"{what}: {exc}; is dbus.service running?") from exc
