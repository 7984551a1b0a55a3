"""The C library's memory, kept from one training step to the next."""

import ctypes
from contextlib import suppress

# Numbers of <malloc.h>; 32 MiB is the largest threshold that glibc accepts.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_THRESHOLD = 32 << 20


def keep_freed_memory() -> bool:
    """Tells the C library to keep freed memory instead of handing it back to the system.

    A training step frees and claims the same volumes again and again; each time they come back
    from the system, every page of them costs a fault. It holds for the whole process, to its end,
    and the process stays as large as it has once been; volumes above 32 MiB are not affected.

    Returns: whether the C library knows this (glibc does).
    """
    with suppress(AttributeError, OSError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        return bool(
            mallopt(_M_MMAP_THRESHOLD, _LARGEST_THRESHOLD) and mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
        )
    return False
