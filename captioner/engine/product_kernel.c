/* Products of rows with a float32 weight that lies in panels: (panels, inputs, PANEL), as many columns of the weight as
fit the registers side by side, the last ones filled with zeros.

TILE rows and PANEL outputs are computed at once, so that each weight that is read serves TILE rows and each input PANEL
outputs (Goto and van de Geijn 2008). The next panel is fetched from memory meanwhile; with few rows, that takes as long
as the arithmetic. The result of a row is the same to the bit whatever rows are beside it. */

#include <stdint.h>

#if defined(__AVX512F__)
enum { LANES = 16, VECTORS = 2, TILE = 8 };
#elif defined(__AVX__)
enum { LANES = 8, VECTORS = 2, TILE = 6 };
#elif defined(__ARM_NEON)
enum { LANES = 4, VECTORS = 4, TILE = 6 };
#else
enum { LANES = 4, VECTORS = 2, TILE = 6 };
#endif
enum { PANEL = LANES * VECTORS };
enum { DEPTH = 1024, BLOCK_BYTES = 256 << 10 }; /* inputs at once, and bytes of them that stay in the second cache */

typedef float vector __attribute__((vector_size(LANES * sizeof(float))));
typedef float stored_vector __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));

const int64_t panel_outputs = PANEL;

/* The part of a product that some inputs of some rows contribute to the outputs of a panel. */
struct part {
    const float *x;     /* (rows, inputs), from the first of these inputs on */
    const float *panel; /* (depth, PANEL) */
    const float *start; /* what the sums begin with: (rows, width), rows `start_stride` apart; or null */
    float *out;         /* (rows, outputs), from the first output of the panel on */
    const char *ahead;  /* fetched meanwhile, `step` bytes for each input */
    int64_t rows, inputs, outputs, depth, width, start_stride, step;
};

static inline __attribute__((always_inline)) void multiply_tile(struct part p, const int rows) {
    vector sums[TILE][VECTORS];
    float values[PANEL] = {0};
    for (int r = 0; r < rows; r++) {
        for (int64_t o = 0; p.start && o < p.width; o++) values[o] = p.start[r * p.start_stride + o];
        for (int v = 0; v < VECTORS; v++) sums[r][v] = *(const stored_vector *)(values + v * LANES);
    }
    for (int64_t i = 0; i < p.depth; i++) {
        vector weights[VECTORS];
        for (int v = 0; v < VECTORS; v++) weights[v] = *(const stored_vector *)(p.panel + i * PANEL + v * LANES);
        __builtin_prefetch(p.ahead + i * p.step, 0, 2);
        for (int r = 0; r < rows; r++)
            for (int v = 0; v < VECTORS; v++) sums[r][v] += p.x[r * p.inputs + i] * weights[v];
    }
    for (int r = 0; r < rows; r++) {
        for (int v = 0; v < VECTORS; v++) *(stored_vector *)(values + v * LANES) = sums[r][v];
        for (int64_t o = 0; o < p.width; o++) p.out[r * p.outputs + o] = values[o];
    }
}

/* Multiply all rows in tiles of about the same size. */
static void multiply_part(struct part p) {
    int64_t tiles = (p.rows + TILE - 1) / TILE;
    p.step = (PANEL * sizeof(float) + tiles - 1) / tiles;
    for (; tiles; tiles--) {
        int64_t count = (p.rows + tiles - 1) / tiles;
        switch (count) {
#define CASE(n) \
    case n: multiply_tile(p, n); break;
            CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#if defined(__AVX512F__)
            CASE(7) CASE(8)
#endif
        }
        p.rows -= count, p.x += count * p.inputs, p.out += count * p.outputs, p.ahead += p.depth * p.step;
        if (p.start) p.start += count * p.start_stride;
    }
}

/* x: (rows, inputs); weight: (panels, inputs, PANEL); bias: (outputs,) or null; out: (rows, outputs). */
void multiply(const float *x, const float *weight, const float *bias, float *out, int64_t rows, int64_t inputs,
              int64_t outputs, int threads) {
    int64_t panels = (outputs + PANEL - 1) / PANEL, blocks = rows <= TILE ? 1 : (inputs + DEPTH - 1) / DEPTH;
    int64_t depth = (inputs + blocks - 1) / blocks, most = BLOCK_BYTES / (depth * sizeof(float)) / TILE * TILE;
    most = most < TILE ? TILE : most;
    for (int64_t row = 0; row < rows; row += most)
        for (int64_t input = 0; input < inputs; input += depth)
#pragma omp parallel for num_threads(threads) if (threads > 1)
            for (int64_t number = 0; number < panels; number++) {
                int64_t output = number * PANEL;
                struct part p = {
                    .x = x + row * inputs + input,
                    .panel = weight + output * inputs + input * PANEL,
                    .out = out + row * outputs + output,
                    .rows = rows - row < most ? rows - row : most,
                    .inputs = inputs,
                    .outputs = outputs,
                    .depth = inputs - input < depth ? inputs - input : depth,
                    .width = outputs - output < PANEL ? outputs - output : PANEL,
                };
                p.ahead = (const char *)(p.panel + inputs * PANEL);
                if (input)
                    p.start = p.out, p.start_stride = outputs;
                else if (bias)
                    p.start = bias + output;
                multiply_part(p);
            }
}
