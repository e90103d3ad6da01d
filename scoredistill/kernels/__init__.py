"""Numerical kernels: each file states an equation and its plain-torch reference, for any device and dtype.

Convention: a kernel is a function of tensors. A faster twin takes the same arguments and the same parameter
layout, is compared with it in value and gradient, and the kernel's own file chooses between the two.
"""
