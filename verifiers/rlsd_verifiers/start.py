"""The program of a worker process, run by its path and without `site`. Its first line of input is the import path.

The standard library comes first, then the parent's path in the parent's order. What a verifier prints is dropped.
"""

import json
import os
import sys


def serve() -> None:
    source, target = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(nowhere, standard)
    with os.fdopen(source, "rb") as lines, os.fdopen(target, "wb") as answers:
        path, limits, remote = json.loads(lines.readline())
        sys.path += path
        import site

        site.main()
        from rlsd_verifiers.worker import main

        main(lines, answers, limits, remote=remote)


if __name__ == "__main__":
    serve()
