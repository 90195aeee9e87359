/* A decode step of a whole text tower, in the order of Qwen3-VL's layers, from the functions of the other kernels. */

#include "product_kernel.c"
#include "row_kernel.c"
#include "slot_kernel.c"

enum { QUERIES = HEADS * DIM, KEYS = GROUPS * DIM, PROJECTED = QUERIES + 2 * KEYS };

struct product {
    const float *weight, *bias; /* the weight as in product_kernel.c; the bias may be null */
};

struct layer {
    struct product qkv, out, gate_and_up, down;
    const float *input_norm, *head_norm, *post_norm;
    float *keys, *values; /* (tokens, GROUPS, DIM), of all slots */
    float input_epsilon, head_epsilon, post_epsilon, scale;
};

/* hidden: (rows, width), changed in place; cos, sin: (rows, rotated); starts: (rows,), the first token of each slot;
lengths: (rows,), with the new token; room: for rows * (2 * width + 3 * inner + PROJECTED + 2 * QUERIES + KEYS +
HEADS * longest) values. */
void run_step(const struct layer *layers, int64_t count, float *hidden, const float *cos, const float *sin,
              const int64_t *starts, const int64_t *lengths, float *room, int64_t rows, int64_t longest, int64_t width,
              int64_t inner, int64_t rotated, int threads) {
    float *normed = room, *change = normed + rows * width, *projected = change + rows * width;
    float *queries = projected + rows * PROJECTED, *keys = queries + rows * QUERIES, *attended = keys + rows * KEYS;
    float *both = attended + rows * QUERIES, *gated = both + rows * 2 * inner, *scores = gated + rows * inner;
    for (const struct layer *layer = layers; layer < layers + count; layer++) {
        norm(hidden, layer->input_norm, 0, normed, rows, width, layer->input_epsilon, threads);
        multiply(normed, layer->qkv.weight, layer->qkv.bias, projected, rows, width, PROJECTED, threads);
        norm_and_rotate(projected, layer->head_norm, cos, sin, queries, keys, rows, PROJECTED, HEADS, HEADS + GROUPS, DIM,
                        rotated, layer->head_epsilon, threads);
        for (int64_t row = 0; row < rows; row++) {
            int64_t token = (starts[row] + lengths[row] - 1) * KEYS;
            memcpy(layer->keys + token, keys + row * KEYS, KEYS * sizeof(float));
            memcpy(layer->values + token, projected + row * PROJECTED + QUERIES + KEYS, KEYS * sizeof(float));
        }
        attend_rows(queries, layer->keys, layer->values, attended, scores, starts, lengths, rows, longest, layer->scale,
                    threads);
        multiply(attended, layer->out.weight, layer->out.bias, change, rows, QUERIES, width, threads);
        for (int64_t i = 0; i < rows * width; i++) hidden[i] += change[i];
        norm(hidden, layer->post_norm, 0, normed, rows, width, layer->post_epsilon, threads);
        multiply(normed, layer->gate_and_up.weight, layer->gate_and_up.bias, both, rows, width, 2 * inner, threads);
        gate(both, gated, rows, inner, threads);
        multiply(gated, layer->down.weight, layer->down.bias, change, rows, inner, width, threads);
        for (int64_t i = 0; i < rows * width; i++) hidden[i] += change[i];
    }
}
