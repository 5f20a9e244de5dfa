// Scalar functions of the objectives with their derivatives, in f64, as kernel::objective::scalar has them.
#pragma once
#include "common.cuh"

// A number with its derivative.
struct Slope {
    double v, d;
    __device__ __forceinline__ Slope scale(double a) const { return {a * v, a * d}; }
    // The smaller of the two; where they are equal the derivative is the mean.
    __device__ __forceinline__ Slope least(const Slope& o) const {
        if (v < o.v) return *this;
        if (o.v < v) return o;
        return {0.5 * (v + o.v), 0.5 * (d + o.d)};
    }
    // The derivative is kept at the bounds.
    __device__ __forceinline__ Slope clamp(double low, double high) const {
        if (v < low) return {low, 0.};
        if (v > high) return {high, 0.};
        return *this;
    }
};

#define INFINITE __longlong_as_double(0x7ff0000000000000ll)

__device__ __forceinline__ double bound(double x, double low, double high) { return x < low ? low : x > high ? high : x; }

// e^x, constant from x = 300 on, so that the product of two is finite.
__device__ __forceinline__ double bounded_exp(double x) { return exp(x > 300. ? 300. : x); }
__device__ __forceinline__ Slope ratio_of(double log_ratio) {
    const double v = bounded_exp(log_ratio);
    return {v, log_ratio > 300. ? 0. : v};
}
__device__ __forceinline__ double sigmoid(double x) {
    const double e = exp(x >= 0. ? -x : x);
    return (x >= 0. ? 1. : e) / (1. + e);
}

// min(w A, clamp(w, 1 - low, 1 + high) A).
__device__ __forceinline__ Slope clipped(const Slope& w, double advantage, double low, double high) {
    return w.scale(advantage).least(w.clamp(1. - low, 1. + high).scale(advantage));
}

// logp - old; 0 where there is no old policy.
__device__ __forceinline__ double log_ratio(const float* logp, const float* old, u64 t) {
    return old ? double(logp[t]) - double(old[t]) : 0.;
}
