"""Responses that show what only the teacher was shown.

A phrase list catches responses that speak of a reference they were never given. A task can add a signature of its own:
for arithmetic chains, a result stated without the running totals that lead to it.
"""

import re

from rlsd_cli.data.tasks import TASKS

PHRASES = re.compile(
    r"reference (?:solution|answer)"
    r"|as (?:given|provided|stated) (?:above|in the)"
    r"|the (?:hint|solution) (?:says|states)"
    r"|according to the (?:reference|hint|solution)",
    re.IGNORECASE,
)


def leaks(response: str, data: str) -> bool:
    """True where a response mentions a reference or carries the signature of the task `data`."""
    task = TASKS.get(data.split(":")[0])
    signature = task.leakage if task else None
    return bool(PHRASES.search(response)) or bool(signature and re.search(signature, response))
