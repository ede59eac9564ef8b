"""The workers of a distributed training, from `TF_CONFIG`, and whether they can reach each other (no TensorFlow)."""

from __future__ import annotations

import json
import os
import socket
import time
from contextlib import closing
from dataclasses import dataclass

from cxr_edge.errors import OptionError, RunError

VARIABLE = "TF_CONFIG"
_EXAMPLE = '{"cluster": {"worker": ["a:2222", "b:2222"]}, "task": {"type": "worker", "index": 0}}'
#: How long workers wait for each other at the start: a scheduler may start one minutes after another.
CONNECT_SECONDS = 300.0
_RETRY_SECONDS = 0.5
_LAST_PORT = 65535


@dataclass(frozen=True)
class Cluster:
    """The addresses (`host:port`) of all workers, and which of them is this one; the first is the chief."""

    workers: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Whether this worker writes the run."""
        return self.index == 0

    def wait_for_peers(self, seconds: float = CONNECT_SECONDS) -> None:
        """Return once every other worker can be reached, while they can reach this one.

        Raises:
            OptionError: this worker's own port is taken.
            RunError: some workers cannot be reached in that time.
        """
        missing = [address for index, address in enumerate(self.workers) if index != self.index]
        end = time.monotonic() + seconds
        with closing(_listening(_port(self.workers[self.index]))):
            while missing := [address for address in missing if not _reachable(address)]:
                if time.monotonic() >= end:
                    raise RunError(
                        f"worker {self.index} of {len(self.workers)}: cannot reach {', '.join(missing)} within "
                        f"{seconds:.0f} s; check that every worker is running with the same cluster in {VARIABLE}, and "
                        "that no firewall separates them"
                    )
                time.sleep(_RETRY_SECONDS)


def cluster_of_environment() -> Cluster:
    """The cluster that `TF_CONFIG` describes: of workers, or of a chief and workers.

    Raises:
        OptionError: the variable is missing or does not describe such a cluster.
    """
    text = os.environ.get(VARIABLE)
    if not text:
        raise OptionError(f"--strategy multi-worker needs the environment variable {VARIABLE}, such as {_EXAMPLE}")
    try:
        config = json.loads(text)
        jobs, task = config["cluster"], config["task"]
        workers = tuple(str(address) for job in ("chief", "worker") for address in jobs.get(job, ()))
        index = int(task["index"]) + (len(jobs.get("chief", ())) if task["type"] == "worker" else 0)
        if task["type"] not in ("chief", "worker") or not 0 <= index < len(workers):
            raise ValueError(f"there is no {task['type']} {task['index']}")
        for address in workers:
            _port(address)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise OptionError(f"{VARIABLE} does not describe a cluster ({error}); it should look like {_EXAMPLE}") from None
    return Cluster(workers, index)


def _port(address: str) -> int:
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or int(port) > _LAST_PORT:
        raise ValueError(f"{address} is not host:port")
    return int(port)


def _reachable(address: str) -> bool:
    try:
        with closing(socket.create_connection((address.rpartition(":")[0], _port(address)), timeout=5)):
            return True
    except OSError:
        return False


def _listening(port: int) -> socket.socket:
    """Listen on a port, as TensorFlow will later: a peer may try to connect before TensorFlow starts.

    The system itself completes a peer's connection, and the peer closes it at once, so none is accepted here.
    """
    try:
        # Like TensorFlow, also on IPv6 if available.
        dual = socket.has_dualstack_ipv6()
        family = socket.AF_INET6 if dual else socket.AF_INET
        return socket.create_server(("", port), family=family, dualstack_ipv6=dual)
    except OSError as error:
        raise OptionError(f"{VARIABLE}: port {port} of this worker is not free ({error.strerror})") from None
