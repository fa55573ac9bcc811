"""What must be true behind every proxy, however it asks keyledger."""

from harness import Keyledger, Proxy, Service, expect, step

ADMITTED = ("x-keyledger-key-id", "x-keyledger-tenant", "x-keyledger-account")
CLAIMS = [
    ("x-keyledger-key-id", "key_forged"),
    ("X-Keyledger-Tenant", "globex"),
    ("x-keyledger-tenant", "initech"),
    ("x-keyledger-roles", "admin"),
]


class House:
    """A keyledger with what the cases need."""

    def __init__(self, keyledger: Keyledger) -> None:
        self.keyledger = keyledger
        keyledger.account("billing", "enterprise", "reports:read")
        keyledger.account("shipping", "enterprise")
        keyledger.account("small", "standard")
        self.key_id, self.key = keyledger.key("billing", "dépôt, 1")
        self.other_id, self.other = keyledger.key("shipping", "other")
        self.small_id, self.small = keyledger.key("small", "small")
        self.revoked_id, self.revoked = keyledger.key("shipping", "revoked")
        keyledger.cli("key", "revoke", self.revoked_id, "--yes")
        self.here = keyledger.key("shipping", "here", "--allow-cidr", "127.0.0.1/32")[1]
        self.there = keyledger.key("shipping", "there", "--allow-cidr", "192.0.2.0/24")[1]


def bearer(key: str) -> tuple[str, str]:
    return "authorization", f"Bearer {key}"


def let_through(house: House, proxy: Proxy) -> None:
    step("a key is let through, is not passed on, and its holder is named")
    for header in (bearer(house.key), ("x-api-key", house.key)):
        seen = proxy.get("/reports", header).seen()
        expect(seen["x-keyledger-key-id"], [house.key_id])
        expect(seen["x-keyledger-key-name"], ["d%C3%A9p%C3%B4t%2C%201"])
        expect(seen["x-keyledger-tenant"], ["acme"])
        expect(seen["x-keyledger-account"], ["billing"])
        expect(seen["x-keyledger-permissions"], ["reports:read"])
        expect([name for name in ("authorization", "x-api-key") if name in seen], [])


def refused(house: House, proxy: Proxy, service: Service, malformed: set[int] = {401}) -> None:
    step("what is refused does not reach the service, and says no more than it should")
    before = service.reached
    cases = [
        ([], 401),
        ([bearer("kl_live_nonsense")], 401),
        ([bearer(house.revoked)], 401),
        ([bearer(house.other)], 403),  # lacks reports:read
        ([("authorization", "Bearer")], 401),
        ([("authorization", "Basic YTpi")], 401),
        ([("authorization", house.key)], 401),
        ([bearer(house.key), bearer(house.other)], 401),
        ([bearer(house.key), bearer(house.key)], 401),
        ([("x-api-key", house.key), ("x-api-key", house.other)], 401),
        ([("authorization", b"Bearer \xff\xfe")], 401),
        ([("x-api-key", b"\xc3\xa9")], 401),
    ]
    for headers, status in cases:
        answer = proxy.get("/reports", *headers)
        twice = len(headers) > 1 and answer.status in malformed
        expect((headers, answer.status), (headers, answer.status if twice else status))
        if answer.status == 401:
            expect(answer.headers.get("www-authenticate"), "Bearer")
        told = f"{answer.headers} {answer.body}".lower()
        expect([word for word in ("revoked", "malformed", "key_", "kl_") if word in told], [])
    expect(service.reached, before)


def smuggling(house: House, proxy: Proxy) -> None:
    step("identities that a client claims are taken out, with a key and without")
    seen = proxy.get("/reports", bearer(house.key), *CLAIMS).seen()
    expect(seen["x-keyledger-key-id"], [house.key_id])
    expect(seen["x-keyledger-tenant"], ["acme"])
    expect("x-keyledger-roles" in seen, False)
    seen = proxy.get("/public", *CLAIMS).seen()
    expect([name for name in seen if "keyledger" in name], [])


def public(house: House, proxy: Proxy) -> None:
    step("a route that asks for no key still refuses one that does not work")
    expect(proxy.get("/public").status, 200)
    expect(proxy.get("/public", bearer(house.revoked)).status, 401)
    seen = proxy.get("/public", bearer(house.other)).seen()
    expect(seen["x-keyledger-key-id"], [house.other_id])
    expect("authorization" in seen, False)


def sources(house: House, proxy: Proxy) -> None:
    step("a key's networks are held to the address of the connection, not to what the client writes")
    expect(proxy.get("/", bearer(house.here)).status, 200)
    for name in ("x-forwarded-for", "x-real-ip", "forwarded"):
        expect(proxy.get("/", bearer(house.there), (name, "192.0.2.7")).status, 403)


def limits(house: House, proxy: Proxy, status: int) -> Proxy:
    step("a limit that is used up")
    for _ in range(100):
        expect(proxy.get("/", bearer(house.small)).status, 200)
    answer = proxy.get("/", bearer(house.small))
    expect(answer.status, status)
    return answer
