"""Replace the documented ports by free ones."""

import random
import re

from tests.servers import is_listening

SERVICES = ("8081", "8082", "8088")  # where scripts/run serves
EXAMPLES = ("8083", "8084", "8085")
DOCUMENTED = (*SERVICES, *EXAMPLES, "8090", "5000")

# Where a command names the port at which it listens.
BOUND = re.compile(r"(?:--bind|-b|--port|-p|http\.server)[ =](?:--bind [\w.]+ |[\w.]+:)?(\d{4,5})\b")


def choose_ports() -> dict[str, str]:
    """Return a free port for each documented one, of four digits too, so that lengths and columns agree."""
    # They are below the range from which the system chooses those of other tests.
    free = (port for port in random.sample(range(2000, 9999), 7999) if not is_listening(port))
    return {documented: str(next(free)) for documented in DOCUMENTED}


def replace_ports(text: str, ports: dict[str, str]) -> str:
    return re.sub(rf"(?<![\w.])({'|'.join(ports)})(?!\w)", lambda match: ports[match[1]], text)


def find_bound_ports(command: str, ports: dict[str, str]) -> list[int]:
    """Return the ports at which a server listens when its command has started."""
    if "scripts/run" in command:
        return [int(ports[name]) for name in SERVICES]
    if found := [int(port) for port in BOUND.findall(command)]:
        return found
    assert re.search(r"\bflask\b.* run\b", command), "the command of a server must name its port"
    return [int(ports["5000"])]
