// Products of few rows with packed weights, by AVX-512 in bfloat16 or 8 bits.
#pragma once

#include <immintrin.h>
#include <sys/mman.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <memory>
#include <vector>

namespace dp {

constexpr int kColumns = 32;     // outputs of one panel of weights: two registers
constexpr int kMostRows = 8;     // rows of one block: 16 accumulators
constexpr size_t kPage = 2 << 20;  // weights on huge pages: they are read end to end at every call

struct Freed {
  void operator()(void* memory) const { std::free(memory); }
};
using Memory = std::unique_ptr<uint8_t, Freed>;

inline Memory allocate(size_t bytes) {
  const size_t alignment = bytes >= kPage ? kPage : 64;
  bytes = (bytes + alignment - 1) / alignment * alignment;
  auto* memory = static_cast<uint8_t*>(std::aligned_alloc(alignment, bytes));
  if (alignment == kPage) madvise(memory, bytes, MADV_HUGEPAGE);
  std::memset(memory, 0, bytes);
  return Memory(memory);
}

inline uint16_t rounded(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return static_cast<uint16_t>((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

// Which of 16 columns from this one on exist.
inline __mmask16 within(int columns, int column) {
  const int left = columns - column;
  return left >= 16 ? 0xffff : left > 0 ? (1u << left) - 1 : 0;
}

// Products of a block of rows with a panel of weights. T tells bfloat16 (__m512) from bytes (__m512i).
inline __m512 dot(__m512 sum, uint32_t pair, __m512i weights) {
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(_mm512_set1_epi32(pair)),
                          reinterpret_cast<__m512bh>(weights));
}
inline __m512i dot(__m512i sum, uint32_t four, __m512i weights) {
  return _mm512_dpbusd_epi32(sum, _mm512_set1_epi32(four), weights);
}

// A row of the left factor: as many runs of `groups` groups of 4 bytes, each so many bytes after the one before.
struct Runs {
  int count, groups;
  size_t apart;
};

template <typename T, int ROWS>
void multiply(const uint8_t* const* rows, Runs runs, const uint8_t* panel, T (*out)[2]) {
  T sums[ROWS][2];  // in registers, if every loop over them is unrolled
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r) sums[r][0] = sums[r][1] = T{};
  for (int run = 0; run < runs.count; ++run) {
    const size_t shift = run * runs.apart;
    for (int k = 0; k < runs.groups; ++k, panel += 128) {
      const __m512i left = _mm512_load_si512(panel), right = _mm512_load_si512(panel + 64);
      _mm_prefetch(reinterpret_cast<const char*>(panel + 2048), _MM_HINT_T0);
      _mm_prefetch(reinterpret_cast<const char*>(panel + 2112), _MM_HINT_T0);
#pragma GCC unroll 8
      for (int r = 0; r < ROWS; ++r) {
        uint32_t group;
        std::memcpy(&group, rows[r] + shift + 4 * k, 4);
        sums[r][0] = dot(sums[r][0], group, left);
        sums[r][1] = dot(sums[r][1], group, right);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < ROWS; ++r) out[r][0] = sums[r][0], out[r][1] = sums[r][1];
}

template <typename T>
void multiply_any(int count, const uint8_t* const* rows, Runs runs, const uint8_t* panel, T (*out)[2]) {
  switch (count) {
    case 1: return multiply<T, 1>(rows, runs, panel, out);
    case 2: return multiply<T, 2>(rows, runs, panel, out);
    case 3: return multiply<T, 3>(rows, runs, panel, out);
    case 4: return multiply<T, 4>(rows, runs, panel, out);
    case 5: return multiply<T, 5>(rows, runs, panel, out);
    case 6: return multiply<T, 6>(rows, runs, panel, out);
    case 7: return multiply<T, 7>(rows, runs, panel, out);
    default: return multiply<T, 8>(rows, runs, panel, out);
  }
}

}  // namespace dp
