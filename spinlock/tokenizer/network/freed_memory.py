"""Memory that is free again, but that the C library keeps for the process."""

import ctypes


def return_freed_memory() -> None:
    """Let the machine have the memory that this process no longer uses.

    Between tensors that stay, thousands of others that come and go leave holes too small for what
    comes next, so the process grows beyond what it ever holds. Where the C library cannot be asked
    (only glibc can) nothing happens.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
