"""The basic calls of Debian's python3-etcd3: put, get, get_prefix, delete, leases, status, members.

Usage: python_smoke.py HOST:PORT...   Exits 0 if every member answers as expected.
"""
import sys

import etcd3


def check(what, expected, actual):
    if expected != actual:
        sys.exit(f"{what}: expected {expected!r}, got {actual!r}")


def exercise(host, port):
    client = etcd3.client(host=host, port=int(port), timeout=10)
    client.delete_prefix("py/")
    client.put("py/a", "1")
    client.put("py/b", "2")
    client.put("py/b", "two")

    value, meta = client.get("py/b")
    check("get", b"two", value)
    check("version", 2, meta.version)
    check("prefix", [(b"py/a", b"1"), (b"py/b", b"two")],
          [(meta.key, value) for value, meta in client.get_prefix("py/")])
    check("keys only", 2, len(list(client.get_prefix("py/", keys_only=True))))
    check("missing", (None, None), client.get("py/none"))
    check("serializable", b"1", client.get("py/a", serializable=True)[0])

    check("delete", True, client.delete("py/a"))
    check("delete again", False, client.delete("py/a"))
    check("delete prefix", 1, client.delete_prefix("py/").deleted)
    check("empty prefix", [], list(client.get_prefix("py/")))
    lease = client.lease(60)
    client.put("py/leased", "1", lease)
    check("lease keys", [b"py/leased"], list(lease.keys))
    check("lease refresh", 60, lease.refresh()[0].TTL)
    check("lease granted", 60, lease.granted_ttl)
    lease.revoke()
    check("revoked", (None, None), client.get("py/leased"))

    check("status", True, client.status().leader is not None)
    check("members", True, len(list(client.members)) > 0)


for endpoint in sys.argv[1:]:
    exercise(*endpoint.rsplit(":", 1))
print("ok", *sys.argv[1:])
