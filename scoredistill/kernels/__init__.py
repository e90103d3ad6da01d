"""Numerical kernels. Each file states an equation and its reference in plain torch, for any device and dtype.

A kernel is a function of tensors. Its fast twin in `warp/` takes the same arguments and the same parameter layout, and
the tests compare values and gradients of the two. The kernel's own file chooses between them (`backend`).
Imports point one way: `kernels/*.py` > `kernels/warp/*.py` > {`kernels/backend.py`, `kernels/types.py`}.
"""
