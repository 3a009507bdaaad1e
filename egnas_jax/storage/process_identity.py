"""Names a process in the files by which processes share a folder."""

import os
import platform
import time
from typing import Any


def this_process() -> dict[str, Any]:
    """Returns host, pid and local time of this process, as JSON holds them."""
    now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    return {"host": platform.node(), "pid": os.getpid(), "time": now}
