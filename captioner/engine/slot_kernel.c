/* Attention from one token of each row to the keys and values of its own part of the tokens.

Built for one model: HEADS query heads, GROUPS key heads, DIM dimensions of a head. Keys and values are read once, in order,
which is as fast as memory allows. */

#include "elements.h"

#define REPEATS (HEADS / GROUPS) /* query heads that share a key head */

/* Turn scores into weights in place; return their sum. */
static float weigh(float *scores, int64_t length) {
    float highest = scores[0], total = 0;
    for (int64_t t = 1; t < length; t++) highest = scores[t] > highest ? scores[t] : highest;
    for (int64_t t = 0; t < length; t++) {
        scores[t] = exponential(scores[t] - highest);
        total += scores[t];
    }
    return total;
}

/* Attend for some key heads of one row. q, out: (groups * REPEATS, DIM); k, v: (length, GROUPS, DIM) from the first of
these heads on; scores: room for (groups * REPEATS, length). */
static void attend(const element *restrict q, const element *restrict k, const element *restrict v,
                   element *restrict out, float *restrict scores, int groups, int64_t length, float scale) {
    float queries[HEADS][DIM], sums[HEADS][DIM];
    for (int h = 0; h < groups * REPEATS; h++)
        for (int d = 0; d < DIM; d++) {
            queries[h][d] = widen(q[h * DIM + d]) * scale;
            sums[h][d] = 0;
        }
    for (int64_t t = 0; t < length; t++)
        for (int g = 0; g < groups; g++) {
            float key[DIM];
            for (int d = 0; d < DIM; d++) key[d] = widen(k[(t * GROUPS + g) * DIM + d]);
            for (int h = g * REPEATS; h < (g + 1) * REPEATS; h++) {
                float score = 0;
                for (int d = 0; d < DIM; d++) score += queries[h][d] * key[d];
                scores[h * length + t] = score;
            }
        }
    float totals[HEADS];
    for (int h = 0; h < groups * REPEATS; h++) totals[h] = weigh(scores + h * length, length);
    for (int64_t t = 0; t < length; t++)
        for (int g = 0; g < groups; g++) {
            float value[DIM];
            for (int d = 0; d < DIM; d++) value[d] = widen(v[(t * GROUPS + g) * DIM + d]);
            for (int h = g * REPEATS; h < (g + 1) * REPEATS; h++) {
                float weight = scores[h * length + t];
                for (int d = 0; d < DIM; d++) sums[h][d] += weight * value[d];
            }
        }
    for (int h = 0; h < groups * REPEATS; h++)
        for (int d = 0; d < DIM; d++) out[h * DIM + d] = narrow(sums[h][d] / totals[h]);
}

/* Attend for all rows. q, out: (rows, HEADS, DIM); k, v: (tokens, GROUPS, DIM); starts, lengths: (rows,), the part of
the tokens to which each row attends; scores: room for (rows, HEADS, longest). With fewer rows than threads, the key heads
of a row are divided among them. */
void attend_rows(const element *q, const element *k, const element *v, element *out, float *scores,
                 const int64_t *starts, const int64_t *lengths, int64_t rows, int64_t longest, float scale,
                 int threads) {
    int groups = rows < threads ? 1 : GROUPS;
    int64_t parts = GROUPS / groups;
#pragma omp parallel for num_threads(threads) schedule(dynamic) if (threads > 1)
    for (int64_t number = 0; number < rows * parts; number++) {
        int64_t row = number / parts, group = number % parts * groups;
        int64_t head = row * HEADS + group * REPEATS, from = (starts[row] * GROUPS + group) * DIM;
        attend(q + head * DIM, k + from, v + from, out + head * DIM, scores + head * longest, groups, lengths[row],
               scale);
    }
}
