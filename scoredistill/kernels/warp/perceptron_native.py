"""Perceptron kernels for CPUs: the output, its gradients, and the gradients of these.

N points   K inputs   H hidden units   O outputs   a kernel index is a chunk of points
x [K N], y [O N] and their gradients are planes, the layout in which the hash grid writes its features. An array without
rows is not given, or not wanted.

The gradients of y = B relu(A x) for a gradient g of y, with s = [A x > 0] and * elementwise:

    d = s * B^T g    to x: A^T d    to A: d x^T    to B: g relu(A x)^T

The gradients of these for gradients u, P, Q of the three, where s is constant almost everywhere:

    v = s * (A u + P x)    w = s * Q^T g
    to x: P^T d + A^T w    to A: d u^T + w x^T    to B: g v^T    to g: B v + Q relu(A x)
"""

# pyright: reportInvalidTypeForm=false, reportArgumentType=false
# (kernels are written in warp's language, which has the syntax of Python but other types)

from __future__ import annotations

from typing import no_type_check

import warp as wp

from scoredistill.kernels.types import HIDDEN_STEP, MAX_INPUTS, MAX_OUTPUTS

wp.set_module_options({"enable_backward": False})

LANES = 16
"""Points per vector: the widest register."""
CHUNK = 4096
"""Points per chunk. Each chunk sums its own gradients of the matrices, so they do not depend on the thread count."""

TILES = f"""
    #pragma clang fp contract(fast)  // one instruction for a product and a sum
    constexpr int LANES = {LANES}, VECTORS = 4, TILE = LANES * VECTORS, ROWS = {HIDDEN_STEP}, CHUNK = {CHUNK};
    typedef float lanes __attribute__((ext_vector_type(LANES)));
    typedef lanes tile[VECTORS];
    const int inputs = first.shape[1], hidden = first.shape[0], outputs = second.shape[0];
    const size_t count = x.shape[1];
    const int end = wp::min((chunk + 1) * CHUNK, x.shape[1]);
    tile in[{MAX_INPUTS}], to_in[{MAX_INPUTS}], out[{MAX_OUTPUTS}], to_out[{MAX_OUTPUTS}];
    tile a[ROWS], d[ROWS];
"""
"""A tile is a value at each of 64 points: `in` and `out` hold x, and y or its gradient; a = A x and d as above.

Hidden units are computed a few at a time, so that their tiles stay in registers and the smallest cache.
"""

HELPERS = """
    const auto clear = [](tile* to, int planes) {
        for (int k = 0; k < planes; ++k) {
            for (int t = 0; t < VECTORS; ++t) {
                to[k][t] = 0;
            }
        }
    };
    const auto read = [&](tile* to, const float* from, int planes, int start) {  // zero beyond the chunk's end
        for (int k = 0; k < planes; ++k) {
            for (int j = 0; j < TILE; ++j) {
                ((float*)to[k])[j] = start + j < end ? from[k * count + start + j] : 0;
            }
        }
    };
    const auto write = [&](float* to, const tile* from, int planes, int start) {
        for (int k = 0; k < planes; ++k) {
            for (int j = 0; j < TILE; ++j) {
                if (start + j < end) {
                    to[k * count + start + j] = ((const float*)from[k])[j];
                }
            }
        }
    };
    const auto mask = [&](tile* values) {  // values = s * values
        for (int r = 0; r < ROWS; ++r) {
            for (int t = 0; t < VECTORS; ++t) {
                values[r][t] = a[r][t] > 0 ? values[r][t] : 0;
            }
        }
    };
    // The products below are of ROWS rows of A or P, or of ROWS columns of B or Q.
    const auto add_rows = [&](tile* to, const float* rows, const tile* from) {  // to += rows from
        for (int t = 0; t < VECTORS; ++t) {
            lanes sum[ROWS];
            for (int r = 0; r < ROWS; ++r) {
                sum[r] = to[r][t];
            }
            for (int k = 0; k < inputs; ++k) {
                for (int r = 0; r < ROWS; ++r) {
                    sum[r] += rows[r * inputs + k] * from[k][t];
                }
            }
            for (int r = 0; r < ROWS; ++r) {
                to[r][t] = sum[r];
            }
        }
    };
    const auto add_rows_transposed = [&](tile* to, const float* rows, const tile* from) {  // to += rows^T from
        for (int t = 0; t < VECTORS; ++t) {
            for (int k = 0; k < inputs; ++k) {
                for (int r = 0; r < ROWS; ++r) {
                    to[k][t] += rows[r * inputs + k] * from[r][t];
                }
            }
        }
    };
    const auto add_rows_gradient = [&](lanes* sums, const tile* left, const tile* right) {  // sums += left right^T
        for (int k = 0; k < inputs; ++k) {
            for (int t = 0; t < VECTORS; ++t) {
                for (int r = 0; r < ROWS; ++r) {
                    sums[r * inputs + k] += left[r][t] * right[k][t];
                }
            }
        }
    };
    const auto add_columns = [&](tile* to, const float* columns, const tile* from) {  // to += columns from
        for (int o = 0; o < outputs; ++o) {
            for (int r = 0; r < ROWS; ++r) {
                for (int t = 0; t < VECTORS; ++t) {
                    to[o][t] += columns[o * hidden + r] * from[r][t];
                }
            }
        }
    };
    const auto add_columns_transposed = [&](tile* to, const float* columns) {  // to += columns^T out
        for (int r = 0; r < ROWS; ++r) {
            for (int o = 0; o < outputs; ++o) {
                for (int t = 0; t < VECTORS; ++t) {
                    to[r][t] += columns[o * hidden + r] * out[o][t];
                }
            }
        }
    };
    const auto add_columns_gradient = [&](lanes* sums, const tile* right) {  // sums += out right^T
        for (int o = 0; o < outputs; ++o) {
            for (int r = 0; r < ROWS; ++r) {
                for (int t = 0; t < VECTORS; ++t) {
                    sums[o * hidden + r] += out[o][t] * right[r][t];
                }
            }
        }
    };
"""

FORWARD = """
    for (int start = chunk * CHUNK; start < end; start += TILE) {
        read(in, x.data, inputs, start);
        clear(out, outputs);
        for (int h = 0; h < hidden; h += ROWS) {
            clear(a, ROWS);
            add_rows(a, first.data + h * inputs, in);
            mask(a);
            add_columns(out, second.data + h, a);
        }
        write(y.data, out, outputs, start);
    }
"""

SUMS = """
    lanes* to_first = (lanes*)sums.data + (size_t)chunk * sums.shape[1];
    lanes* to_second = to_first + hidden * inputs;
"""

BACKWARD = """
    for (int start = chunk * CHUNK; start < end; start += TILE) {
        read(in, x.data, inputs, start);
        read(out, grad.data, outputs, start);
        clear(to_in, inputs);
        for (int h = 0; h < hidden; h += ROWS) {
            const float* rows = first.data + h * inputs;
            clear(a, ROWS);
            clear(d, ROWS);
            add_rows(a, rows, in);
            add_columns_transposed(d, second.data + h);
            mask(d);
            add_rows_transposed(to_in, rows, d);
            if (sums.shape[0]) {
                mask(a);
                add_rows_gradient(to_first + h * inputs, d, in);
                add_columns_gradient(to_second + h, a);
            }
        }
        write(to_x.data, to_in, inputs, start);
    }
"""

SECOND = f"""
    tile grad_in[{MAX_INPUTS}], v[ROWS], w[ROWS];
    for (int start = chunk * CHUNK; start < end; start += TILE) {{
        read(in, x.data, inputs, start);
        read(out, grad.data, outputs, start);
        read(grad_in, u.data, u.shape[0], start);
        clear(to_in, inputs);
        clear(to_out, outputs);
        for (int h = 0; h < hidden; h += ROWS) {{
            const float* rows = first.data + h * inputs;
            clear(a, ROWS);
            clear(d, ROWS);
            clear(v, ROWS);
            add_rows(a, rows, in);
            add_columns_transposed(d, second.data + h);
            mask(d);
            if (u.shape[0]) {{
                add_rows(v, rows, grad_in);
                add_rows_gradient(to_first + h * inputs, d, grad_in);
            }}
            if (p.shape[0]) {{
                add_rows(v, p.data + h * inputs, in);
                add_rows_transposed(to_in, p.data + h * inputs, d);
            }}
            mask(v);
            add_columns(to_out, second.data + h, v);
            add_columns_gradient(to_second + h, v);
            if (q.shape[0]) {{
                clear(w, ROWS);
                add_columns_transposed(w, q.data + h);
                mask(w);
                add_rows_transposed(to_in, rows, w);
                add_rows_gradient(to_first + h * inputs, w, in);
                mask(a);
                add_columns(to_out, q.data + h, a);
            }}
        }}
        write(to_x.data, to_in, to_x.shape[0], start);
        write(to_grad.data, to_out, outputs, start);
    }}
"""

Matrix, Sums = wp.array2d[float], wp.array3d[float]


@wp.func_native(TILES + HELPERS + FORWARD)
@no_type_check
def forward_chunk(chunk: int, x: Matrix, first: Matrix, second: Matrix, y: Matrix): ...


@wp.func_native(TILES + HELPERS + SUMS + BACKWARD)
@no_type_check
def backward_chunk(chunk: int, x: Matrix, first: Matrix, second: Matrix, grad: Matrix, to_x: Matrix, sums: Sums): ...


@wp.func_native(TILES + HELPERS + SUMS + SECOND)
@no_type_check
def second_derivatives_chunk(
    chunk: int,
    x: Matrix,
    first: Matrix,
    second: Matrix,
    grad: Matrix,
    u: Matrix,
    p: Matrix,
    q: Matrix,
    to_x: Matrix,
    sums: Sums,
    to_grad: Matrix,
): ...


@wp.kernel
@no_type_check
def forward(begin: int, x: Matrix, first: Matrix, second: Matrix, y: Matrix):
    forward_chunk(begin + wp.tid(), x, first, second, y)


@wp.kernel
@no_type_check
def backward(begin: int, x: Matrix, first: Matrix, second: Matrix, grad: Matrix, to_x: Matrix, sums: Sums):
    backward_chunk(begin + wp.tid(), x, first, second, grad, to_x, sums)


@wp.kernel
@no_type_check
def second_derivatives(
    begin: int,
    x: Matrix,
    first: Matrix,
    second: Matrix,
    grad: Matrix,
    u: Matrix,
    p: Matrix,
    q: Matrix,
    to_x: Matrix,
    sums: Sums,
    to_grad: Matrix,
):
    second_derivatives_chunk(begin + wp.tid(), x, first, second, grad, u, p, q, to_x, sums, to_grad)
