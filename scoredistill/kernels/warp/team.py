"""Native code that a thread of `kernels.team` runs."""

# pyright: reportInvalidTypeForm=false, reportArgumentType=false

from __future__ import annotations

from typing import no_type_check

import warp as wp

wp.set_module_options({"enable_backward": False})

WORKER = """
#ifndef __CUDA_ARCH__
    found.data[0] = (wp::uint64)(void (*)(void*))[](void* given) {
        wp::uint64* tasks = (wp::uint64*)given;
        const auto kernel = (void (*)(void*, void*))tasks[2];
        for (;;) {
            const wp::uint64 i = __atomic_fetch_add(tasks, 1, __ATOMIC_RELAXED);
            if (i >= tasks[1]) return;
            kernel((void*)tasks[3 + 2 * i], (void*)tasks[4 + 2 * i]);
        }
    };
#endif
"""
"""The address of a function that takes tasks until none is left: next task, number of tasks, kernel, then for each task
the addresses of its number of indices and of its arguments."""


@wp.func_native(WORKER)
@no_type_check
def worker(found: wp.array[wp.uint64]): ...


@wp.kernel
@no_type_check
def address(found: wp.array[wp.uint64]):
    worker(found)
