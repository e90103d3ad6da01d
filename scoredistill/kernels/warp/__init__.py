"""Kernels written in warp: one source for CPU and CUDA. Imported only once `kernels.backend` has started warp."""
