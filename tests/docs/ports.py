"""Replace the documented ports with free ones."""

import random
import re

from tests.servers import is_listening

SERVICES = ("8081", "8082", "8088")  # where scripts/run serves
EXAMPLES = ("8083", "8084", "8085")
DOCUMENTED = (*SERVICES, *EXAMPLES, "8090", "5000")

# Where a command, or a comment after it, names the port at which a server listens.
BOUND = re.compile(
    r"(?:--bind|-b|--port|-p|PORT|http\.server|on port)[ =](?:--bind [\w.]+ |[\w.]+:)?(\d{4,5})\b"
)


def choose_ports() -> dict[str, str]:
    """Return a free port of four digits for each documented one, so that lengths and columns agree."""
    # They are below the range from which the system assigns the ports of other tests.
    free = (port for port in random.sample(range(2000, 9999), 7999) if not is_listening(port))
    return {documented: str(next(free)) for documented in DOCUMENTED}


def replace_ports(text: str, ports: dict[str, str]) -> str:
    return re.sub(rf"(?<![\w.])({'|'.join(ports)})(?!\w)", lambda match: ports[match[1]], text)


def find_bound_ports(command: str, ports: dict[str, str]) -> list[int]:
    """Return the ports at which a server listens when it is ready, or none if the command names none."""
    if "scripts/run" in command:
        return [int(ports[name]) for name in SERVICES]
    found = [int(port) for port in BOUND.findall(command)]
    if not found and re.search(r"\bflask\b.* run\b", command):
        return [int(ports["5000"])]
    return found
