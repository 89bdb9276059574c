"""The steps of ../run with Python's etcd3. This library has one endpoint, does not resume watches
and does not keep leases alive, so the program does these as its users do."""
import sys
import threading
import time

import etcd3

endpoints = [endpoint.rsplit(":", 1) for endpoint in sys.argv[1:]]


def connect(i=0):
    host, port = endpoints[i % len(endpoints)]
    return etcd3.client(host=host, port=int(port), timeout=3)


def check(what, expected, actual):
    if expected != actual:
        raise AssertionError(f"{what}: expected {expected!r}, got {actual!r}")


def wait_until(what, fact, seconds=30):
    deadline = time.monotonic() + seconds
    while not fact():
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.05)


def put():
    client = connect()
    first = client.put("py/a", "1").header.revision
    check("revision of the next put", first + 1, client.put("py/a", "2").header.revision)
    client.put("py/b", "3")


def get():
    client = connect(1)
    value, meta = client.get("py/a")
    check("value", b"2", value)
    check("version", 2, meta.version)
    check("prefix", [b"py/a", b"py/b"], [meta.key for _, meta in client.get_prefix("py/")])
    check("missing key", None, client.get("py/none")[0])


def watch():
    client = connect(2)
    events, cancel = client.watch_prefix("watch/")
    expected = [(f"watch/{i:03}".encode(), str(i).encode()) for i in range(100)]
    for key, value in expected:
        connect.writer.put(key, value)
    connect.writer.delete("watch/000")
    for key, value in expected:
        event = next(events)
        check("event", (key, value), (event.key, event.value))
    check("last event", (etcd3.events.DeleteEvent, b"watch/000"), (lambda e: (type(e), e.key))(next(events)))
    cancel()


def lease():
    client = connect()
    kept, left = client.lease(2), client.lease(2)
    client.put("lease/kept", "1", kept)
    client.put("lease/left", "1", left)
    for _ in range(12):
        time.sleep(0.5)
        check("renewed TTL", True, kept.refresh()[0].TTL > 0)
    check("key of the lease that is kept alive", b"1", client.get("lease/kept")[0])
    wait_until("expiry", lambda: client.get("lease/left")[0] is None)
    kept.revoke()
    check("key after the revocation", None, client.get("lease/kept")[0])


def lock():
    first, second = connect(0).lock("lock", ttl=20), connect(1).lock("lock", ttl=20)
    check("first acquire", True, first.acquire(timeout=5))
    check("acquire of a taken lock", False, second.acquire(timeout=1))
    first.release()
    check("acquire after the release", True, second.acquire(timeout=5))
    check("owner", (False, True), (first.is_acquired(), second.is_acquired()))
    second.release()


class Persistent:
    """A client that changes to the next endpoint when a call fails, and repeats the call."""

    def __init__(self):
        self.next = 0
        self.client = connect()

    def call(self, function, seconds=60):
        deadline = time.monotonic() + seconds
        while True:
            try:
                return function(self.client)
            except Exception as error:  # of the library, or a gRPC error that it does not translate
                if time.monotonic() > deadline:
                    raise AssertionError(f"no answer within {seconds} s: {error!r}") from error
                time.sleep(0.1)
                self.next += 1
                self.client.close()
                self.client = connect(self.next)


class Watching:
    """Collects the events of a prefix. Resumes after the last event when its stream ends."""

    def __init__(self, prefix, revision):
        self.events = []  # (mod_revision, key, value)
        self.broken = 0
        self.stopped = False
        self.thread = threading.Thread(target=self.run, args=(prefix, revision), daemon=True)
        self.thread.start()

    def run(self, prefix, revision):
        endpoint = 0
        while not self.stopped:
            try:
                client = connect(endpoint)
                responses, _ = client.watch_prefix_response(prefix, start_revision=revision)
                for response in responses:
                    if isinstance(response, Exception):
                        raise response
                    for event in response.events:
                        self.events.append((event.mod_revision, event.key, event.value))
                        revision = event.mod_revision + 1
            except Exception:
                self.broken += 1
                endpoint += 1
                time.sleep(0.1)


def keep_alive(ttl, lease_id, stopped, problems):
    client = Persistent()
    while not stopped.is_set():
        answer = client.call(lambda c: list(c.refresh_lease(lease_id)))
        if answer[0].TTL <= 0:
            problems.append("the lease was lost")
            return
        time.sleep(ttl / 6)


def deaths():
    client = Persistent()
    ttl = 6
    lease_id = client.client.lease(ttl).id
    client.client.put("deaths/leased", "1", lease_id)
    granted = time.monotonic()
    stopped, problems = threading.Event(), []
    threading.Thread(target=keep_alive, args=(ttl, lease_id, stopped, problems), daemon=True).start()
    held = client.client.lock("held", ttl=600)
    check("lock", True, held.acquire(timeout=5))
    revision = client.client.put("deaths/begin", "1").header.revision
    watching = Watching("deaths/w", revision)

    done = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.readline(), done.set()), daemon=True).start()
    print("kill", flush=True)
    acknowledged = []
    while not done.is_set() or time.monotonic() < granted + 2 * ttl:
        key = f"deaths/w{len(acknowledged) % 10}"
        acknowledged.append(client.call(lambda c: c.put(key, str(len(acknowledged)))).header.revision)
        time.sleep(0.005)

    wait_until("the event of the last put", lambda: watching.events and watching.events[-1][0] >= acknowledged[-1])
    revisions = [event[0] for event in watching.events]
    check("strictly increasing revisions", sorted(set(revisions)), revisions)
    check("acknowledged puts without event", set(), set(acknowledged) - set(revisions))
    versions = sum(meta.version for _, meta in client.call(lambda c: list(c.get_prefix("deaths/w"))))
    check("events for each version of each key", versions, len(revisions))
    check("leased key", b"1", client.call(lambda c: c.get("deaths/leased"))[0])
    check("problems of the lease", [], problems)
    check("lock is held", held.uuid, client.call(lambda c: c.get("/locks/held"))[0])
    stopped.set()
    return f"{len(acknowledged)} puts, {len(revisions)} events, {watching.broken} broken watches"


connect.writer = connect(0)
steps = {"put": put, "get": get, "watch": watch, "lease": lease, "lock": lock, "election": None, "deaths": deaths}
for name, step in steps.items():
    if step is None:
        print(f"skip {name}: the library has no elections", flush=True)
        continue
    try:
        detail = step()
    except Exception as error:
        print(f"fail {name}: {error!r}", flush=True)
        sys.exit(1)
    print(f"ok {name}" + (f": {detail}" if detail else ""), flush=True)
