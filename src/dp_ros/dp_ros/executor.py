"""A single-threaded executor that costs a third of rclpy's for each message.

rclpy's executor builds its wait set anew for each wake-up from Python loops over all entities, wraps each callback in
a task and wakes itself up twice per callback. At 100 Hz on several topics that is most of a node's processor time.
This one waits on all entities as well, but takes messages of ready subscriptions directly, in the order in which the
subscriptions were made, all that are there. Services, clients, timers, guard conditions and coroutines go the usual
way through rclpy's own code.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from rclpy.executors import ExternalShutdownException, ShutdownException, SingleThreadedExecutor, TimeoutException
from rclpy.impl.implementation_singleton import rclpy_implementation as _rclpy
from rclpy.subscription import Subscription

InvalidHandle = _rclpy.InvalidHandle
_WAIT_NS = 200_000_000
# QoS events and action entities are not part of the fast wait set; they are looked at this often.
_HOUSEKEEPING_S = 0.2
_LONGEST_TAKE = 100
_LONGEST_DRAIN = 50


def _never() -> bool:
    return False


class _Entities:
    """Flat lists of what one node set waits for, and a wait set of that size.

    Holds every handle until `release`, so that nothing is destroyed while it is being waited for.
    """

    def __init__(self, executor: LeanExecutor) -> None:
        nodes = executor.get_nodes()
        # A group that refuses is emptied by its owner (the recorder takes messages by hand).
        subscriptions = [s for node in nodes for s in node.subscriptions if s.callback_group.can_execute(s)]
        self.timers = [t.handle for node in nodes for t in node.timers]
        self.clients = [c.handle for node in nodes for c in node.clients]
        self.services = [s.handle for node in nodes for s in node.services]
        self.guards = [g.handle for node in nodes for g in node.guards] + executor.own_guards
        self.node_guards = [g for node in nodes for g in node.guards]
        self.direct: list[tuple[Any, int, Any, bool, Any, bool]] = []
        self.indirect: list[Any] = []
        for sub in subscriptions:
            if inspect.iscoroutinefunction(sub.callback):
                self.indirect.append(sub.handle)
            else:
                bare = sub._callback_type is Subscription.CallbackType.MessageOnly
                self.direct.append((sub.handle, sub.handle.pointer, sub.msg_type, sub.raw, sub.callback, bare))
        self._held = ExitStack()
        subscription_handles = [entry[0] for entry in self.direct] + self.indirect
        for handle in (*subscription_handles, *self.guards, *self.timers, *self.clients, *self.services):
            self._held.enter_context(handle)
        self._held.enter_context(executor.context.handle)
        self.wait_set = _rclpy.WaitSet(
            len(subscriptions),
            len(self.guards),
            len(self.timers),
            len(self.clients),
            len(self.services),
            0,
            executor.context.handle,
        )

    def release(self) -> None:
        """Let go of the handles; the lists must not be used after that."""
        self._held.close()

    def wait(self) -> tuple[set[int], bool]:
        """Wait; returns pointers of ready subscriptions, and whether anything else is ready."""
        wait_set = self.wait_set
        wait_set.clear_entities()
        for entry in self.direct:
            wait_set.add_subscription(entry[0])
        for handle in self.indirect:
            wait_set.add_subscription(handle)
        for handle in self.guards:
            wait_set.add_guard_condition(handle)
        for handle in self.timers:
            wait_set.add_timer(handle)
        for handle in self.clients:
            wait_set.add_client(handle)
        for handle in self.services:
            wait_set.add_service(handle)
        wait_set.wait(_WAIT_NS)
        ready = set(wait_set.get_ready_entities("subscription"))
        guards = wait_set.get_ready_entities("guard_condition")
        for guard in self.node_guards:
            if guard.handle.pointer in guards:
                guard._executor_triggered = True
        others = bool(guards) or any(wait_set.get_ready_entities(kind) for kind in ("timer", "client", "service"))
        return ready, others or any(handle.pointer in ready for handle in self.indirect)


class LeanExecutor(SingleThreadedExecutor):
    """Drop-in for `SingleThreadedExecutor` where `spin` is called; see the module."""

    _entities: _Entities | None = None
    _housekeeping_due = 0.0

    @property
    def context(self) -> Any:
        """The context that this executor spins."""
        return self._context

    @property
    def own_guards(self) -> list[Any]:
        """Guard conditions that wake this executor: its own and that of signals."""
        return [guard.handle for guard in (self._guard, self._sigint_gc) if guard is not None]

    def spin(self) -> None:
        """Execute callbacks until shutdown. Raises what a callback raises."""
        self.spin_until(_never)

    def spin_until(self, done: Callable[[], bool]) -> None:
        """Execute callbacks until ``done()`` or shutdown; asked after each cycle, five times a second when idle.

        Raises:
            ExternalShutdownException: the context has ended; and what a callback raises.
        """
        try:
            while self._context.ok() and not self._is_shutdown and not done():
                try:
                    self._cycle()
                except InvalidHandle:
                    self._forget()
        except ShutdownException:
            pass
        except Exception as error:
            if not self._context.ok():
                # A signal ended the context under a callback that was publishing.
                raise ExternalShutdownException from error
            raise
        finally:
            self._forget()

    def _forget(self) -> None:
        if self._entities is not None:
            self._entities.release()
            self._entities = None

    def _cycle(self) -> None:
        if self._suspended():
            # A coroutine waits: rclpy's own cycle polls it and respects its callback group.
            self._forget()
            self.spin_once(timeout_sec=1e-9 * _WAIT_NS)
            return
        if self._entities is None or time.monotonic() >= self._housekeeping_due:
            self._drain()
            return
        ready, others = self._entities.wait()
        if not self._context.ok():
            raise ExternalShutdownException
        if ready:
            self._take(ready)
        if others:
            self._drain()

    def _suspended(self) -> bool:
        if not self._tasks:
            return False
        with self._tasks_lock:
            self._tasks = [entry for entry in self._tasks if not entry[0].done() and not entry[0].cancelled()]
            return bool(self._tasks)

    def _take(self, ready: set[int]) -> None:
        """Run the callbacks of all messages of the ready subscriptions."""
        assert self._entities is not None
        for handle, pointer, kind, raw, callback, bare in self._entities.direct:
            if pointer not in ready:
                continue
            for _ in range(_LONGEST_TAKE):
                taken = handle.take_message(kind, raw)
                if taken is None:
                    break
                if bare:
                    callback(taken[0])
                else:
                    callback(*taken)

    def _drain(self) -> None:
        """Run all that is ready now through rclpy's own code, then look at the entities afresh."""
        self._forget()
        for _ in range(_LONGEST_DRAIN):
            try:
                handler, _, _ = self.wait_for_ready_callbacks(0.0, None, _never)
            except TimeoutException:
                break
            handler()
            if handler.exception() is not None:
                raise handler.exception()
            if self._suspended():
                break
        self._entities = _Entities(self)
        self._housekeeping_due = time.monotonic() + _HOUSEKEEPING_S
