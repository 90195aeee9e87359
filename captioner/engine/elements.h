/* The elements of a model's tensors, bfloat16 or float32, which are widened to float32 for all arithmetic. */

#pragma once

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef BFLOAT16
typedef uint16_t element;

static inline float widen(element x) {
    uint32_t bits = (uint32_t)x << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

static inline element narrow(float x) { /* to the nearest, ties to even; NaNs that arithmetic made stay NaN */
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}
#else
typedef float element;

static inline float widen(element x) { return x; }

static inline element narrow(float x) { return x; }
#endif

/* e^x for x <= 0 with an error of 2 in the last place: Cephes' expf (Moshier 1992), which compilers can vectorize. */
static inline float exponential(float x) {
    x = x < -87.0f ? -87.0f : x;
    float power = rintf(x * 1.44269504f);
    x = x - power * 0.693359375f + power * 2.12194440e-4f;
    float sum = 1.9875691500e-4f;
    sum = sum * x + 1.3981999507e-3f;
    sum = sum * x + 8.3334519073e-3f;
    sum = sum * x + 4.1665795894e-2f;
    sum = sum * x + 1.6666665459e-1f;
    sum = sum * x + 5.0000001201e-1f;
    sum = sum * x * x + x + 1.0f;
    uint32_t bits = (uint32_t)((int32_t)power + 127) << 23; /* unsigned, as what is no number is negative here */
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return sum * scale;
}
