"""One cold start, measured from inside: `python -m cxr_edge.benchmarking.probe ARTIFACT RUNTIME THREADS IMAGE`.

RUNTIME `keras` takes a run's folder for ARTIFACT. Prints one line of JSON once the image is classified.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def _peak_memory() -> int | None:
    """Bytes of resident memory at the highest; None where the system does not say."""
    try:
        # Not getrusage: on Linux its peak begins with that of the process that started this one.
        for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    if sys.platform != "darwin":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    artifact, name, threads, image = sys.argv[1:]
    # What a driver prints to stdout must not land before the answer.
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    from cxr_edge.imaging.decode import load_image
    from cxr_edge.runtimes.base import Session, runtime_named

    session: Session
    if name == "keras":
        from cxr_edge.runs import Run
        from cxr_edge.training.keras_model import KerasSession

        run = Run(Path(artifact))
        options = run.config().options
        size, resize = options.image_size, options.resize
        start = time.perf_counter()
        session = KerasSession(run, int(threads))
    else:
        from cxr_edge.artifacts.artifact import read_artifact

        read = read_artifact(Path(artifact))
        size, resize = read.image_size, read.resize
        runtime = runtime_named(name)
        runtime.prepare()
        start = time.perf_counter()
        # This process is already one of its own.
        session = runtime.load_here(Path(artifact), int(threads))
    loaded = time.perf_counter()
    pixels = load_image(image, size, resize)
    ready = time.perf_counter()
    session.run(pixels[None, :, :, None])
    done = time.perf_counter()
    print(
        json.dumps(
            {
                "load_ms": 1000 * (loaded - start),
                "first_ms": 1000 * (done - ready),
                "peak_memory_bytes": _peak_memory(),
            }
        ),
        file=answer,
        flush=True,
    )


if __name__ == "__main__":
    main()
