"""Kernels written in warp: one source for CPU and CUDA. Import them only after `kernels.backend` has started warp."""
