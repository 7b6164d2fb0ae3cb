// Matrix products of quantized weights with a few tokens, for CPUs with AVX-512 VNNI.
//
// An agent's calls decode batches of 2 to 40 tokens: forced tokens, drafts, options, callers. For
// Q4_1 and Q8_0 weights ggml multiplies each token for itself, so a batch of sixteen costs four
// times what one token does. Here the weights of 16 rows are laid out side by side, as the dot
// product instruction eats them, and each is unpacked once for up to six tokens.
//
// A token's result is the same to the last bit in a batch of any size: the sums over a block are
// integers, and the blocks are added in their order. So decoding with drafts, or beside other
// callers, differs from decoding alone in the attention at most.
//
// It plugs into ggml as a buffer type of the CPU back end, the way ggml's own repacked weights do.
// What it does not take (other types, rows not in sixteens, experts) stays with ggml.

#include "ggml_abi.h"

#include <immintrin.h>

#include <algorithm>
#include <cmath>
#include <cstring>

namespace {

constexpr int64_t kBlock = 32;  // weights that share a scale, in every type taken here
constexpr int64_t kRows = 16;   // rows side by side: the lanes of a vector
constexpr int64_t kGroups = 8;  // groups of rows that stay in the cache while tokens pass
constexpr int64_t kTokens = 6;  // tokens multiplied at a time: what the registers hold

// ---- blocks as GGUF stores them, and sixteen of them interleaved; the bytes are as many

struct Q4_0 {
    static constexpr ggml_type type = GGML_TYPE_Q4_0;
    static constexpr int kOffset = 8;  // a nibble q stands for q - 8
    static constexpr bool kNibbles = true, kMinimum = false;
    struct Stored {
        uint16_t d;
        uint8_t q[16];
    };
    struct Interleaved {
        uint16_t d[kRows];
        uint8_t q[4][64];
    };
};

struct Q4_1 {
    static constexpr ggml_type type = GGML_TYPE_Q4_1;
    static constexpr int kOffset = 0;
    static constexpr bool kNibbles = true, kMinimum = true;
    struct Stored {
        uint16_t d, m;
        uint8_t q[16];
    };
    struct Interleaved {
        uint16_t d[kRows], m[kRows];
        uint8_t q[4][64];
    };
};

struct Q8_0 {
    static constexpr ggml_type type = GGML_TYPE_Q8_0;
    static constexpr int kOffset = 128;  // the instruction wants one side unsigned
    static constexpr bool kNibbles = false, kMinimum = false;
    struct Stored {
        uint16_t d;
        uint8_t q[32];
    };
    struct Interleaved {
        uint16_t d[kRows];
        uint8_t q[8][64];
    };
};

// A block of activations: 32 numbers as q times d.
struct Activations {
    float d;
    float sum;    // d times the sum of q: what a minimum is multiplied with
    int32_t q_sum;
    int32_t unused;
    int8_t q[kBlock];
};

template <typename Q>
void interleave(const typename Q::Stored *in, typename Q::Interleaved *out, int64_t rows,
                int64_t blocks) {
    for (int64_t group = 0; group < rows / kRows; group++) {
        for (int64_t block = 0; block < blocks; block++, out++) {
            for (int64_t row = 0; row < kRows; row++) {
                const auto &from = in[(group * kRows + row) * blocks + block];
                out->d[row] = from.d;
                if constexpr (Q::kMinimum) out->m[row] = from.m;
                for (size_t i = 0; i < sizeof from.q; i++) {
                    const uint8_t byte = Q::kNibbles ? from.q[i] : from.q[i] ^ 0x80;
                    out->q[i / 4][row * 4 + i % 4] = byte;
                }
            }
        }
    }
}

// ---- the product

// Round to the nearest of 255 steps, as ggml does for its Q8 types.
void quantize(const float *x, Activations *out) {
    const __m512 a = _mm512_loadu_ps(x), b = _mm512_loadu_ps(x + 16);
    const float most = _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(a), _mm512_abs_ps(b)));
    const float d = most / 127.0f;
    const __m512 inverse = _mm512_set1_ps(most > 0 ? 127.0f / most : 0.0f);
    const __m512i qa = _mm512_cvtps_epi32(_mm512_mul_ps(a, inverse));
    const __m512i qb = _mm512_cvtps_epi32(_mm512_mul_ps(b, inverse));
    _mm_storeu_si128(reinterpret_cast<__m128i *>(out->q), _mm512_cvtsepi32_epi8(qa));
    _mm_storeu_si128(reinterpret_cast<__m128i *>(out->q + 16), _mm512_cvtsepi32_epi8(qb));
    out->q_sum = _mm512_reduce_add_epi32(_mm512_add_epi32(qa, qb));
    out->d = d;
    out->sum = d * static_cast<float>(out->q_sum);
}

__m512 halves(const uint16_t *x) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(x)));
}

// 16 rows times N tokens. `stride`: blocks from one token's activations to the next one's.
template <typename Q, int N>
void multiply(const typename Q::Interleaved *weights, const Activations *tokens, int64_t stride,
              int64_t blocks, float *const *out) {
    __m512 sums[N];
    for (auto &sum : sums) sum = _mm512_setzero_ps();
    const __m512i low = _mm512_set1_epi8(15);
    for (int64_t block = 0; block < blocks; block++) {
        const auto &w = weights[block];
        __m512i q[8];
        if constexpr (Q::kNibbles) {
            for (int i = 0; i < 4; i++) {
                const __m512i both = _mm512_loadu_si512(w.q[i]);
                q[i] = _mm512_and_si512(both, low);
                q[i + 4] = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
            }
        } else {
            for (int i = 0; i < 8; i++) q[i] = _mm512_loadu_si512(w.q[i]);
        }
        const __m512 d = halves(w.d);
        for (int n = 0; n < N; n++) {
            const Activations &a = tokens[n * stride + block];
            // Two chains: an instruction waits for the one before it in its chain alone.
            __m512i even = _mm512_set1_epi32(-Q::kOffset * a.q_sum);
            __m512i odd = _mm512_setzero_si512();
            for (int i = 0; i < 8; i += 2) {
                int32_t x, y;
                std::memcpy(&x, a.q + 4 * i, 4);
                std::memcpy(&y, a.q + 4 * i + 4, 4);
                even = _mm512_dpbusd_epi32(even, q[i], _mm512_set1_epi32(x));
                odd = _mm512_dpbusd_epi32(odd, q[i + 1], _mm512_set1_epi32(y));
            }
            const __m512 sum = _mm512_cvtepi32_ps(_mm512_add_epi32(even, odd));
            sums[n] = _mm512_fmadd_ps(_mm512_mul_ps(d, _mm512_set1_ps(a.d)), sum, sums[n]);
        }
        if constexpr (Q::kMinimum) {
            const __m512 m = halves(w.m);
            for (int n = 0; n < N; n++) {
                const __m512 sum = _mm512_set1_ps(tokens[n * stride + block].sum);
                sums[n] = _mm512_fmadd_ps(m, sum, sums[n]);
            }
        }
    }
    for (int n = 0; n < N; n++) _mm512_storeu_ps(out[n], sums[n]);
}

template <typename Q>
void multiply_some(int64_t n, const typename Q::Interleaved *weights, const Activations *tokens,
                   int64_t stride, int64_t blocks, float *const *out) {
    switch (n) {
        case 1: return multiply<Q, 1>(weights, tokens, stride, blocks, out);
        case 2: return multiply<Q, 2>(weights, tokens, stride, blocks, out);
        case 3: return multiply<Q, 3>(weights, tokens, stride, blocks, out);
        case 4: return multiply<Q, 4>(weights, tokens, stride, blocks, out);
        case 5: return multiply<Q, 5>(weights, tokens, stride, blocks, out);
        default: return multiply<Q, 6>(weights, tokens, stride, blocks, out);
    }
}

// Where the vector of token `n` is in a tensor of up to four dimensions.
float *vector_of(const ggml_tensor *t, int64_t n) {
    const int64_t i1 = n % t->ne[1], i2 = n / t->ne[1] % t->ne[2], i3 = n / t->ne[1] / t->ne[2];
    return reinterpret_cast<float *>(static_cast<char *>(t->data) + i1 * t->nb[1] +
                                     i2 * t->nb[2] + i3 * t->nb[3]);
}

// From `ith` of `nth` threads' share of `all` things: where it begins.
int64_t share(int64_t all, int ith, int nth) { return all * ith / nth; }

template <typename Q>
class Product final : public ggml::cpu::tensor_traits {
    bool work_size(int, const ggml_tensor *op, size_t &size) override {
        size = ggml_nelements(op->src[1]) / kBlock * sizeof(Activations);
        return true;
    }

    bool compute_forward(ggml_compute_params *params, ggml_tensor *op) override {
        const ggml_tensor *weights = op->src[0], *x = op->src[1];
        const int64_t blocks = weights->ne[0] / kBlock, groups = weights->ne[1] / kRows;
        const int64_t tokens = ggml_nrows(x);
        auto *activations = static_cast<Activations *>(params->wdata);

        // Threads share the work by blocks, so that a single token keeps all of them busy.
        const int64_t end = share(tokens * blocks, params->ith + 1, params->nth);
        for (int64_t i = share(tokens * blocks, params->ith, params->nth); i < end;) {
            const int64_t n = i / blocks;
            const float *vector = vector_of(x, n);
            for (; i < end && i < (n + 1) * blocks; i++)
                quantize(vector + (i - n * blocks) * kBlock, activations + i);
        }
        ggml_barrier(params->threadpool);

        const auto *rows = static_cast<const typename Q::Interleaved *>(weights->data);
        const int64_t last = share(groups, params->ith + 1, params->nth);
        // A few tokens' activations stay in the cache while all rows pass by; where there are
        // many tokens, a few rows stay while the tokens pass.
        const int64_t first = share(groups, params->ith, params->nth);
        for (int64_t from = first; from < last; from += kGroups) {
            const int64_t to = from + kGroups < last ? from + kGroups : last;
            for (int64_t n = 0; n < tokens; n += kTokens) {
                const int64_t some = tokens - n < kTokens ? tokens - n : kTokens;
                float *out[kTokens];
                for (int64_t i = 0; i < some; i++) out[i] = vector_of(op, n + i) + from * kRows;
                for (int64_t group = from; group < to; group++) {
                    multiply_some<Q>(some, rows + group * blocks, activations + n * blocks, blocks,
                                     blocks, out);
                    for (int64_t i = 0; i < some; i++) out[i] += kRows;
                }
            }
        }
        return true;
    }
};

// ---- attention over a KV cache in half precision

// The sums of 16 vectors, four each of a, b, c and d, in that order. Every sum is added up in the
// same order of its lanes.
__m512 sums_of(const __m512 (&v)[16]) {
    __m512 four[4];
    for (int i = 0; i < 4; i++) {
        const __m512 *a = v + 4 * i;
        const __m512 ab =
            _mm512_add_ps(_mm512_unpacklo_ps(a[0], a[1]), _mm512_unpackhi_ps(a[0], a[1]));
        const __m512 cd =
            _mm512_add_ps(_mm512_unpacklo_ps(a[2], a[3]), _mm512_unpackhi_ps(a[2], a[3]));
        const __m512d x = _mm512_castps_pd(ab), y = _mm512_castps_pd(cd);
        four[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)),
                                _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
    }
    // Each holds four lanes of four partial sums: add the lanes up, one vector to a lane.
    const __m512 ab = _mm512_add_ps(_mm512_shuffle_f32x4(four[0], four[1], 0x44),
                                    _mm512_shuffle_f32x4(four[0], four[1], 0xee));
    const __m512 cd = _mm512_add_ps(_mm512_shuffle_f32x4(four[2], four[3], 0x44),
                                    _mm512_shuffle_f32x4(four[2], four[3], 0xee));
    return _mm512_add_ps(_mm512_shuffle_f32x4(ab, cd, 0x88), _mm512_shuffle_f32x4(ab, cd, 0xdd));
}

constexpr int64_t kHeads = 4;  // query heads multiplied with a head of the cache at a time

// The scores of 4 cells for N heads: `keys` times `queries`, both of `length` numbers.
template <int N>
void score(const uint16_t *const *keys, const float *const *queries, int64_t length,
           float *const *out) {
    __m512 sums[16];
    for (auto &sum : sums) sum = _mm512_setzero_ps();
    for (int64_t i = 0; i < length; i += 16) {
        __m512 key[4];
        for (int cell = 0; cell < 4; cell++) key[cell] = halves(keys[cell] + i);
        for (int n = 0; n < N; n++) {
            const __m512 query = _mm512_loadu_ps(queries[n] + i);
            for (int cell = 0; cell < 4; cell++)
                sums[n * 4 + cell] = _mm512_fmadd_ps(key[cell], query, sums[n * 4 + cell]);
        }
    }
    const __m512 all = sums_of(sums);
    _mm_storeu_ps(out[0], _mm512_castps512_ps128(all));
    if constexpr (N > 1) _mm_storeu_ps(out[1], _mm512_extractf32x4_ps(all, 1));
    if constexpr (N > 2) _mm_storeu_ps(out[2], _mm512_extractf32x4_ps(all, 2));
    if constexpr (N > 3) _mm_storeu_ps(out[3], _mm512_extractf32x4_ps(all, 3));
}

void score_some(int64_t n, const uint16_t *const *keys, const float *const *queries,
                int64_t length, float *const *out) {
    switch (n) {
        case 1: return score<1>(keys, queries, length, out);
        case 2: return score<2>(keys, queries, length, out);
        case 3: return score<3>(keys, queries, length, out);
        default: return score<4>(keys, queries, length, out);
    }
}

// e to the power of x, for x <= 0, to about the last bit but two: 2 to a whole number, and a
// polynomial (the Taylor series) for what is left, which is at most half of ln 2.
__m512 exponential(__m512 x) {
    const __m512 whole = _mm512_roundscale_ps(
        _mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT);
    __m512 rest = _mm512_fnmadd_ps(whole, _mm512_set1_ps(0.693359375f), x);
    rest = _mm512_fnmadd_ps(whole, _mm512_set1_ps(-2.12194440e-4f), rest);
    __m512 sum = _mm512_set1_ps(1.0f / 5040);
    for (const float c : {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f})
        sum = _mm512_fmadd_ps(sum, rest, _mm512_set1_ps(c));
    return _mm512_scalef_ps(sum, whole);
}

// Scores into weights, in place, and their sum. `scores` has room for whole vectors.
double soften(float *scores, int64_t count, float scale) {
    for (int64_t i = count; i % 16; i++) scores[i] = -INFINITY;
    __m512 most = _mm512_set1_ps(-INFINITY);
    for (int64_t i = 0; i < count; i += 16)
        most = _mm512_max_ps(most, _mm512_loadu_ps(scores + i));
    const __m512 top = _mm512_set1_ps(_mm512_reduce_max_ps(most));
    __m512d sum = _mm512_setzero_pd();
    for (int64_t i = 0; i < count; i += 16) {
        const __m512 below = _mm512_sub_ps(_mm512_loadu_ps(scores + i), top);
        const __m512 weight = exponential(_mm512_mul_ps(below, _mm512_set1_ps(scale)));
        _mm512_storeu_ps(scores + i, weight);
        sum = _mm512_add_pd(sum, _mm512_cvtps_pd(_mm512_castps512_ps256(weight)));
        sum = _mm512_add_pd(sum, _mm512_cvtps_pd(_mm512_extractf32x8_ps(weight, 1)));
    }
    return _mm512_reduce_add_pd(sum);
}

// The mean of the cells' values by their weights; `Vectors` of 16 numbers make a value. Summed in
// double precision: the order of a call's cells depends on what else was in the cache, and the
// result, rounded to single precision, then practically does not.
template <int Vectors>
void mean(const char *values, size_t stride, const int32_t *cells, const float *weights,
          int64_t count, double total, float *out) {
    __m512d sums[2 * Vectors];
    for (auto &sum : sums) sum = _mm512_setzero_pd();
    for (int64_t i = 0; i < count; i++) {
        const auto *value = reinterpret_cast<const uint16_t *>(values + cells[i] * stride);
        const __m512d weight = _mm512_set1_pd(weights[i]);
        for (int v = 0; v < 2 * Vectors; v++) {
            const auto *half = reinterpret_cast<const __m128i *>(value + 8 * v);
            const __m512d eight = _mm512_cvtps_pd(_mm256_cvtph_ps(_mm_loadu_si128(half)));
            sums[v] = _mm512_fmadd_pd(weight, eight, sums[v]);
        }
    }
    // A token that may see nothing has no mean.
    const __m512d share = _mm512_set1_pd(total > 0 ? 1.0 / total : 0.0);
    for (int v = 0; v < 2 * Vectors; v++)
        _mm256_storeu_ps(out + 8 * v, _mm512_cvtpd_ps(_mm512_mul_pd(sums[v], share)));
}

void mean_of(int64_t length, const char *values, size_t stride, const int32_t *cells,
             const float *weights, int64_t count, double total, float *out) {
    switch (length / 16) {
        case 4: return mean<4>(values, stride, cells, weights, count, total, out);
        case 5: return mean<5>(values, stride, cells, weights, count, total, out);
        case 6: return mean<6>(values, stride, cells, weights, count, total, out);
        default: return mean<8>(values, stride, cells, weights, count, total, out);
    }
}

// Attention over the cells that a token may see, and no others: what else is in the cache (other
// calls, kept prompts) costs nothing, and the order of the sums is that of the token's own cells.
class Attention final : public ggml::cpu::tensor_traits {
    static constexpr int64_t kSlack = 32;  // numbers beyond the cells, so that vectors are whole

    static size_t scratch(const ggml_tensor *op) {
        return (op->src[1]->ne[1] + kSlack) * (sizeof(int32_t) + kHeads * sizeof(float));
    }

    bool work_size(int n_threads, const ggml_tensor *op, size_t &size) override {
        size = n_threads * scratch(op);
        return true;
    }

    bool compute_forward(ggml_compute_params *params, ggml_tensor *op) override {
        const ggml_tensor *q = op->src[0], *k = op->src[1], *v = op->src[2], *mask = op->src[3];
        float scale;
        std::memcpy(&scale, op->op_params, sizeof scale);
        const int64_t cells = k->ne[1], length = k->ne[0];
        const int64_t shared = q->ne[2] / k->ne[2];  // query heads to a head of the cache
        const int64_t parts = (shared + kHeads - 1) / kHeads;
        auto *seen = reinterpret_cast<int32_t *>(static_cast<char *>(params->wdata) +
                                                 params->ith * scratch(op));
        auto *scores = reinterpret_cast<float *>(seen + cells + kSlack);

        const int64_t each = k->ne[2] * parts;
        const int64_t end = share(q->ne[1] * each, params->ith + 1, params->nth);
        int64_t token = -1, count = 0;
        for (int64_t i = share(q->ne[1] * each, params->ith, params->nth); i < end; i++) {
            if (i / each != token) {
                token = i / each;
                count = see(mask, token, cells, seen);
            }
            const int64_t head = i % each / parts;
            const int64_t first = head * shared + i % parts * kHeads;
            const int64_t heads = std::min(kHeads, (head + 1) * shared - first);
            const auto *keys = static_cast<const char *>(k->data) + head * k->nb[2];
            const auto *values = static_cast<const char *>(v->data) + head * v->nb[2];
            const float *queries[kHeads];
            float *rows[kHeads];
            for (int64_t h = 0; h < heads; h++) {
                queries[h] = vector_of(q, (first + h) * q->ne[1] + token);
                rows[h] = scores + h * (cells + kSlack);
            }
            for (int64_t c = 0; c < count; c += 4) {
                const uint16_t *four[4];
                float *out[kHeads];
                for (int64_t j = 0; j < 4; j++)
                    four[j] = reinterpret_cast<const uint16_t *>(
                        keys + seen[std::min(c + j, count - 1)] * k->nb[1]);
                for (int64_t h = 0; h < heads; h++) out[h] = rows[h] + c;
                score_some(heads, four, queries, length, out);
            }
            for (int64_t h = 0; h < heads; h++) {
                const double total = soften(rows[h], count, scale);
                mean_of(v->ne[0], values, v->nb[1], seen, rows[h], count, total,
                        vector_of(op, token * op->ne[1] + first + h));
            }
        }
        return true;
    }

    // The cells that a token may see: those where its mask is zero.
    static int64_t see(const ggml_tensor *mask, int64_t token, int64_t cells, int32_t *seen) {
        const auto *row = reinterpret_cast<const uint16_t *>(
            static_cast<const char *>(mask->data) + token * mask->nb[1]);
        const __m512i step = _mm512_set1_epi32(16);
        __m512i cell = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        int64_t count = 0;
        for (int64_t i = 0; i < cells; i += 16, cell = _mm512_add_epi32(cell, step)) {
            const __m256i masks = _mm256_loadu_si256(reinterpret_cast<const __m256i *>(row + i));
            const __mmask16 open = _mm256_cmpeq_epi16_mask(masks, _mm256_setzero_si256());
            if (!open) continue;
            _mm512_storeu_si512(seen + count, _mm512_maskz_compress_epi32(open, cell));
            count += __builtin_popcount(open);
        }
        return count;
    }
};

// What is taken: a cache in half precision, and a mask that hides cells or does not.
bool attends(const ggml_tensor *op) {
    const ggml_tensor *q = op->src[0], *k = op->src[1], *v = op->src[2], *mask = op->src[3];
    float params[3];  // scale, ALiBi's bias, soft cap
    std::memcpy(params, op->op_params, sizeof params);
    const int64_t vectors = v->ne[0] / 16;
    return mask && !op->src[4] && params[1] == 0 && params[2] == 0 &&
           q->type == GGML_TYPE_F32 && k->type == GGML_TYPE_F16 && v->type == GGML_TYPE_F16 &&
           q->nb[0] == sizeof(float) && k->nb[0] == 2 && v->nb[0] == 2 &&
           mask->type == GGML_TYPE_F16 && q->ne[3] == 1 && mask->ne[2] == 1 && mask->ne[3] == 1 &&
           k->ne[0] % 16 == 0 && v->ne[0] % 16 == 0 && k->ne[1] % 16 == 0 &&
           (vectors == 4 || vectors == 5 || vectors == 6 || vectors == 8);
}

// ---- the types, as tables of what differs

struct Kind {
    ggml_type type;
    ggml::cpu::tensor_traits *product;
    void (*interleave)(const void *, void *, int64_t, int64_t);
};

template <typename Q>
Kind kind() {
    static_assert(sizeof(typename Q::Interleaved) == kRows * sizeof(typename Q::Stored));
    static Product<Q> product;
    return {Q::type, &product,
            [](const void *in, void *out, int64_t rows, int64_t blocks) {
                interleave<Q>(static_cast<const typename Q::Stored *>(in),
                              static_cast<typename Q::Interleaved *>(out), rows, blocks);
            }};
}

const Kind *kind_of(const ggml_tensor *t) {
    static const Kind kinds[] = {kind<Q4_0>(), kind<Q4_1>(), kind<Q8_0>()};
    for (const Kind &k : kinds)
        if (k.type == t->type) return &k;
    return nullptr;
}

bool takes(const ggml_tensor *weights) {
    return kind_of(weights) && ggml_n_dims(weights) == 2 && weights->ne[0] % kBlock == 0 &&
           weights->ne[1] % kRows == 0;
}

// ---- the buffer type

ggml_backend_buffer_type_t buffer_type();

const char *name(ggml_backend_buffer_type_t) { return "CPU_INTERLEAVED"; }

ggml_status init_tensor(ggml_backend_buffer_t, ggml_tensor *tensor) {
    const Kind *k = takes(tensor) ? kind_of(tensor) : nullptr;
    tensor->extra = k ? k->product : nullptr;
    return GGML_STATUS_SUCCESS;
}

void set_tensor(ggml_backend_buffer_t, ggml_tensor *tensor, const void *data, size_t offset,
                size_t size) {
    GGML_ASSERT(takes(tensor) && offset == 0 && size == ggml_nbytes(tensor));
    kind_of(tensor)->interleave(data, tensor->data, tensor->ne[1], tensor->ne[0] / kBlock);
}

ggml_backend_buffer_t alloc_buffer(ggml_backend_buffer_type_t type, size_t size) {
    ggml_backend_buffer_t buffer =
        ggml_backend_buft_alloc_buffer(ggml_backend_cpu_buffer_type(), size);
    if (!buffer) return nullptr;
    buffer->buft = type;
    buffer->iface.init_tensor = init_tensor;
    buffer->iface.set_tensor = set_tensor;
    // As with ggml's own repacked weights: what was interleaved is not read back.
    buffer->iface.get_tensor = nullptr;
    buffer->iface.memset_tensor = nullptr;
    buffer->iface.cpy_tensor = nullptr;
    return buffer;
}

size_t alignment(ggml_backend_buffer_type_t) { return 64; }

class Extra final : public ggml::cpu::extra_buffer_type {
    bool supports_op(ggml_backend_dev_t, const ggml_tensor *op) override {
        return op->op == GGML_OP_MUL_MAT && op->src[0]->buffer &&
               op->src[0]->buffer->buft == buffer_type() && takes(op->src[0]) &&
               op->src[1]->type == GGML_TYPE_F32 && op->src[1]->nb[0] == sizeof(float) &&
               (!op->src[1]->buffer || ggml_backend_buft_is_host(op->src[1]->buffer->buft));
    }

    ggml::cpu::tensor_traits *get_tensor_traits(const ggml_tensor *op) override {
        static Attention attention;
        if (op->op == GGML_OP_FLASH_ATTN_EXT && attends(op)) return &attention;
        if (op->op != GGML_OP_MUL_MAT || !op->src[0]->buffer ||
            op->src[0]->buffer->buft != buffer_type())
            return nullptr;
        return static_cast<ggml::cpu::tensor_traits *>(op->src[0]->extra);
    }
};

ggml_backend_buffer_type_t buffer_type() {
    static ggml_backend_buffer_type type = {
        {name, alloc_buffer, alignment, nullptr, nullptr, nullptr},
        ggml_backend_reg_dev_get(ggml_backend_cpu_reg(), 0),
        new Extra,
    };
    return &type;
}

// Whether ggml offers the buffer type to models. It reads its list when it is first asked for it.
bool offered() {
    const auto list = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(
        ggml_backend_reg_get_proc_address(ggml_backend_cpu_reg(),
                                          "ggml_backend_dev_get_extra_bufts"));
    if (!list) return false;
    const ggml_backend_buffer_type_t *type =
        list(ggml_backend_reg_dev_get(ggml_backend_cpu_reg(), 0));
    for (; type && *type; type++)
        if (*type == buffer_type()) return true;
    return false;
}

}  // namespace

// Makes ggml's CPU back end use it, for every model loaded from now on. To be called before the
// first model is loaded: ggml reads its list of buffer types once. Returns null, or why not.
extern "C" const char *aidecamp_interleave() {
    static bool done = false;
    if (done) return nullptr;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl") ||
        !__builtin_cpu_supports("avx512vnni"))
        return "this CPU has no AVX-512 VNNI";
    // The layout that ggml_abi.h states, seen through what ggml does export.
    ggml_backend_buffer_type_t cpu = ggml_backend_cpu_buffer_type();
    if (cpu->iface.get_name(cpu) != ggml_backend_buft_name(cpu) ||
        cpu->device != ggml_backend_buft_get_device(cpu) ||
        cpu->iface.get_alignment(cpu) != ggml_backend_buft_get_alignment(cpu))
        return "this build of llama.cpp lays out its buffer types in another way";
    auto &types = ggml_backend_cpu_get_extra_buffer_types();
    types.insert(types.begin(), buffer_type());
    if (!offered()) {
        types.erase(types.begin());
        return "a model was loaded before they could be plugged in";
    }
    done = true;
    return nullptr;
}
