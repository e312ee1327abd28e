"""What is done to the service: one function per kind of fault. Each mends what it broke before it returns."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime

from events import RepositoryChanged
from functions.adapters.memory_bus import MemoryEventBus
from functions.cvmfs.entry import Entry
from functions.errors import Retryable
from functions.handlers.publish_transaction import publish_transaction

FUNCTIONS = ("handle-bucket-notification", "publish-transaction", "store-keys", "create-repository", "gateway")
BUSY = ("handle-bucket-notification", "publish-transaction")
NONSENSE_QUEUES = (
    "fn.handle-bucket-notification",
    "fn.publish-transaction",
    "fn.store-keys",
    "fn.create-repository",
)
RADOSGW_PAUSE_S = 150.0
"""Between two deaths of RadosGW: after each it is silent for 30 s, and something must be said in between."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A kind of fault: how often it comes, and whether notifications may be lost by it, for a look at all to find."""

    name: str
    weight: float
    inject: object
    loses: bool = False


class Injector:
    """Injects faults, one after the other, and counts them."""

    def __init__(self, world, tap, random, told, *, hurry):
        self._world = world
        self._tap = tap
        self._random = random
        self._told = told
        self._hurry = hurry
        self._hand = 0
        self._radosgw_died = 0.0
        self.counts = Counter()
        self.effect = Counter()
        """By kind: processes killed, messages touched, revisions published beside."""
        self.lossy = False
        self.broker_deaths = []

    def inject(self, fault):
        began = time.monotonic()
        effect = fault.inject(self) or 0
        self.counts[fault.name] += 1
        self.effect[fault.name] += effect
        self.lossy = self.lossy or fault.loses
        self._told(f"fault {fault.name}: {effect} in {time.monotonic() - began:.1f} s")

    def choose(self):
        """Any fault, by weight."""
        while True:
            (fault,) = self._random.choices(FAULTS, [fault.weight for fault in FAULTS])
            if fault.name != "kill RadosGW" or time.monotonic() - self._radosgw_died > RADOSGW_PAUSE_S:
                return fault

    def _wait(self, least, most):
        time.sleep(least if self._hurry else self._random.uniform(least, most))

    def _repository(self):
        return self._random.choice(self._world.repositories)

    # Processes

    def kill(self, function):
        return self._world.stack.ask("kill", function, None)[0]

    def kill_in_flight(self, function):
        """While a request is under way, at any instant of it."""
        delay_s = self._random.choice((0, 0.01, 0.05, 0.2)) * self._random.random()
        return self._world.stack.ask("kill", function, delay_s)[0]

    def kill_at_creation(self, function):
        """A new repository, and the function that makes it killed while it does."""
        name = f"extra{len(self._world.repositories):03}"
        killed = []
        killer = threading.Thread(target=lambda: killed.append(self.kill_in_flight(function)))
        killer.start()
        repo = self._world.request(name, wait=False)
        killer.join()
        self._world.wait_for_first_revision(repo)
        self._world.repositories.append(repo)
        return killed[0] if killed else 0

    def kill_runtime(self):
        self._world.stack.kill_runtime()
        return 1

    def restart_runtime(self):
        self._world.stack.restart_runtime()
        return 1

    # Servers

    def kill_rabbit(self):
        self.broker_deaths.append(time.time())
        self._world.kill_rabbit()
        self.broker_deaths.append(time.time())
        return 1

    def restart_rabbit(self):
        self.broker_deaths.append(time.time())
        self._world.restart_rabbit()
        self.broker_deaths.append(time.time())
        return 1

    def kill_radosgw(self):
        self._world.kill_radosgw()
        self._radosgw_died = time.monotonic()
        return 1

    def seal_vault(self):
        self._world.seal_vault()
        try:
            self._wait(0.5, 5)
        finally:
            self._world.unseal_vault()
        return 1

    def kill_vault(self):
        self._world.kill_vault()
        return 1

    def full_store(self):
        """Every PUT of the functions is refused for a while.

        Not by a quota of RadosGW itself: those do not bind users made with ``--admin``, as the service is here.
        """
        before = self._world.stack.store.puts_refused
        self._world.stack.store.full = True
        try:
            self._wait(1, 5)
        finally:
            self._world.stack.store.full = False
        return self._world.stack.store.puts_refused - before

    # Networks

    def slow_store(self):
        self._world.stack.store.delay_s = self._random.choice((0.05, 0.3, 1.0))
        try:
            self._wait(1, 6)
        finally:
            self._world.stack.store.delay_s = 0.0
        return 1

    def cut_store(self):
        self._world.stack.store.cut()
        return 1

    def refuse_store(self):
        self._world.stack.store.refusing = True
        self._world.stack.store.cut()
        try:
            self._wait(0.5, 4)
        finally:
            self._world.stack.store.refusing = False
        return 1

    def lose_answers(self):
        self._world.stack.store.answers_to_lose = count = self._random.randrange(1, 12)
        self._wait(1, 1.5)
        left = self._world.stack.store.answers_to_lose
        self._world.stack.store.answers_to_lose = 0
        return count - left

    def break_answers(self):
        self._world.stack.store.answers_to_break = count = self._random.randrange(1, 12)
        self._wait(1, 1.5)
        left = self._world.stack.store.answers_to_break
        self._world.stack.store.answers_to_break = 0
        return count - left

    def cut_broker(self):
        self._world.stack.broker.cut()
        return 1

    # Messages

    def tamper(self, how):
        return self._tap.tamper(how, self._random.uniform(0.5, 2.5) * (0.5 if self._hurry else 1))

    def replay(self):
        return self._tap.replay(self._random.randrange(1, 60))

    def nonsense(self):
        return self._tap.nonsense(self._random.choice(NONSENSE_QUEUES))

    def disturb_changes(self):
        return len(self._tap.disturb_changes(self._repository()))

    # A second publisher

    def publish_by_hand(self):
        """Revisions of somebody who knows nothing of the lock, as a publisher with its own keys is."""
        repo = self._repository()
        published = 0
        for _ in range(self._random.randrange(1, 5)):
            self._hand += 1
            path = f"/beside/{self._hand}"
            entry = Entry.link(f"by hand {self._hand}", mtime=int(time.time()))

            def edit(tree, _marker, path=path, entry=entry):
                if tree.lookup("/beside") is None:
                    tree.put("/beside", Entry.directory(mtime=entry.mtime))
                tree.put(path, entry)

            try:
                self._world.cloud.publisher(repo.fqrn).publish(edit)
            except Retryable:
                # Whether the swap was applied is not known to one who gives up now: the entry may be there.
                repo.by_hand.add((path, "perhaps"))
                continue
            repo.by_hand.add((path, "surely"))
            published += 1
        return published

    def publish_twice(self):
        """The same changes by the function and by a second publisher that holds them too, at the same time."""
        repo = self._repository()
        bodies = self._tap.disturb_changes(repo, seconds=0.7)
        bus = MemoryEventBus()
        bus.declare_changes(repo.fqrn)
        bus.send_changes(repo.fqrn, bodies)
        event = RepositoryChanged(repository=repo.fqrn, cause="beside").to_cloudevent(
            source="/soak", time=datetime.now(UTC)
        )
        try:
            publish_transaction(event, self._world.beside(bus=bus))
        except Retryable:
            return 0
        return len(bodies)


def _kills():
    for function in FUNCTIONS:
        yield Fault(f"kill {function}", 2, lambda injector, name=function: injector.kill(name))
    for function in BUSY:
        yield Fault(f"kill {function} at work", 12, lambda injector, name=function: injector.kill_in_flight(name))
    for function in ("store-keys", "create-repository"):
        yield Fault(f"kill {function} at work", 1, lambda injector, name=function: injector.kill_at_creation(name))


def _tampering():
    for how, weight in (("repeat", 5), ("shuffle", 5), ("delay", 5), ("drop", 4)):
        name = f"notifications: {how}"
        yield Fault(name, weight, lambda injector, way=how: injector.tamper(way), loses=how == "drop")


FAULTS = (
    *_kills(),
    Fault("kill source and functions", 4, Injector.kill_runtime),
    Fault("restart source and functions", 2, Injector.restart_runtime),
    Fault("kill RabbitMQ", 2, Injector.kill_rabbit, loses=True),
    Fault("restart RabbitMQ", 2, Injector.restart_rabbit, loses=True),
    Fault("kill RadosGW", 2, Injector.kill_radosgw, loses=True),
    Fault("kill Vault", 2, Injector.kill_vault),
    Fault("seal Vault", 4, Injector.seal_vault),
    Fault("store full", 4, Injector.full_store),
    Fault("store slow", 5, Injector.slow_store),
    Fault("store cut off", 5, Injector.cut_store),
    Fault("store away", 4, Injector.refuse_store),
    Fault("store: answers lost", 6, Injector.lose_answers),
    Fault("store: answers broken", 5, Injector.break_answers),
    Fault("broker cut off", 5, Injector.cut_broker),
    *_tampering(),
    Fault("notifications: replay", 4, Injector.replay),
    Fault("nonsense on a queue", 5, Injector.nonsense),
    Fault("change queue disturbed", 5, Injector.disturb_changes),
    Fault("second publisher by hand", 6, Injector.publish_by_hand),
    Fault("second publisher, same changes", 5, Injector.publish_twice),
)
