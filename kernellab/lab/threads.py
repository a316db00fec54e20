"""One BLAS thread for the labs, however the notebook was opened."""

import os

import threadpoolctl

_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLIS_NUM_THREADS")


def use_one_blas_thread() -> None:
    """Let BLAS use one thread in this process, unless the reader's environment asks for more.

    The labs' matrices are small. Several threads wait for each other longer than they compute: in
    a container that may use two cores of many, opening a lab took three times as long. The numbers
    on screen would also depend on how many there are.
    """
    if any(name in os.environ for name in (*_VARIABLES, "OMP_NUM_THREADS")):
        return
    os.environ.update(dict.fromkeys(_VARIABLES, "1"))  # for libraries that are loaded later
    threadpoolctl.threadpool_limits(1, user_api="blas")  # for those that are here
