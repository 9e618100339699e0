"""The process of an attacker: `python -m akidb.bench.neighbours.attacker NAME PORT SECONDS FOLDER`.

It prints a line when the attack is under way, and at its end what it did, as JSON.
"""

import json
import resource
import sys
from contextlib import suppress
from pathlib import Path

from akidb.bench.neighbours.attacks import ATTACKS
from akidb.bench.neighbours.sockets import Target


def main(name: str, port: str, seconds: str, folder: str) -> None:
    """Run an attack."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 4096) if most > 0 else 4096, most))
    target = Target(int(port), float(seconds), Path(folder))
    ATTACKS[name].run(target)
    print(json.dumps({"cpu": target.cpu_share, "counted": target.counted}))


if __name__ == "__main__":
    main(*sys.argv[1:])
