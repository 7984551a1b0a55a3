"""The C library's memory, kept from one training step to the next."""

import ctypes
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # numbers of <malloc.h>
_NEVER = -1


def keep_freed_memory() -> bool:
    """Tells the C library to keep freed memory instead of handing it back to the system.

    A training step frees and claims the same volumes again and again; each time they come back
    from the system, every page of them costs a fault and is filled with zeros. It holds for the
    whole process, to its end, and the process stays as large as it has once been.

    Returns: whether the C library knows this (glibc does).
    """
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(_M_MMAP_MAX, 0) and mallopt(_M_TRIM_THRESHOLD, _NEVER))
    return False
