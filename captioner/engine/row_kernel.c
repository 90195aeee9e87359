/* What a transformer computes of each token between its matrix products, each in one pass over the token's values. */

#include "elements.h"

static inline float silu(float x) { /* x / (1 + e^-x), of e^x where that would be infinite */
    float power = exponential(x < 0 ? x : -x);
    float part = x < -87 ? 0 : x < 0 ? power : 1; /* exponential() ends at e^-87, which times the largest x is not 0 */
    return x * part / (1 + power);
}

/* 1 over the root of the mean square. */
static inline float inverse_length(const element *x, int64_t dim, float epsilon) {
    float squares = 0;
    for (int64_t d = 0; d < dim; d++) squares += widen(x[d]) * widen(x[d]);
    return 1 / sqrtf(squares / dim + epsilon);
}

/* RMS norm of each row: x, out (rows, dim), weight (dim,); multiplied by silu(gate) if that is not null. */
void norm(const element *x, const float *weight, const element *gate, element *restrict out, int64_t rows,
          int64_t dim, float epsilon, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; row++) {
        const element *from = x + row * dim;
        element *restrict to = out + row * dim;
        float scale = inverse_length(from, dim, epsilon);
        if (gate)
            for (int64_t d = 0; d < dim; d++)
                to[d] = narrow(widen(from[d]) * scale * weight[d] * silu(widen(gate[row * dim + d])));
        else
            for (int64_t d = 0; d < dim; d++) to[d] = narrow(widen(from[d]) * scale * weight[d]);
    }
}

/* silu(gate) * up: both (rows, 2 size), the gate first -> out (rows, size). */
void gate(const element *both, element *restrict out, int64_t rows, int64_t size, int threads) {
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; row++) {
        const element *gates = both + row * 2 * size, *ups = gates + size;
        element *restrict to = out + row * size;
        for (int64_t i = 0; i < size; i++) to[i] = narrow(silu(widen(gates[i])) * widen(ups[i]));
    }
}

/* RMS norm of each head, then a rotation of the first `rotated` of its dimensions, in pairs rotated / 2 apart.

x: (rows, heads, dim), rows `stride` apart; weight: (heads, dim); cos, sin: (rows, rotated). The first `queries` heads go
to one output, (rows, queries, dim), and the others to a second one. */
void norm_and_rotate(const element *x, const float *weight, const element *cos, const element *sin, element *restrict first,
                     element *restrict second, int64_t rows, int64_t stride, int64_t queries, int64_t heads, int64_t dim,
                     int64_t rotated, float epsilon, int threads) {
    int64_t half = rotated / 2;
#pragma omp parallel for num_threads(threads) if (threads > 1)
    for (int64_t row = 0; row < rows; row++) {
        const element *c = cos + row * rotated, *s = sin + row * rotated;
        for (int64_t head = 0; head < heads; head++) {
            const element *from = x + row * stride + head * dim;
            const float *w = weight + head * dim;
            element *restrict to = head < queries ? first + (row * queries + head) * dim
                                                  : second + (row * (heads - queries) + head - queries) * dim;
            float scale = inverse_length(from, dim, epsilon);
            for (int64_t d = 0; d < half; d++) {
                float a = widen(from[d]) * scale * w[d], b = widen(from[d + half]) * scale * w[d + half];
                to[d] = narrow(a * widen(c[d]) - b * widen(s[d]));
                to[d + half] = narrow(b * widen(c[d + half]) + a * widen(s[d + half]));
            }
            for (int64_t d = rotated; d < dim; d++) to[d] = narrow(widen(from[d]) * scale * w[d]);
        }
    }
}
