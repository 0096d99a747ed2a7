// Denoising U-Net for a few short sequences on one core: weights packed once, whole network per call, no allocation.
//
// Activations are float32 in (sample, time, channel) with rows of zeros around each sequence, so that the taps of an
// output are one contiguous run of numbers and a convolution is a matrix product without unfolding. Each product turns
// its input into bfloat16, or into 8-bit numbers with one scale per sample, and streams the weights once for all rows:
// with so few rows, reading them is most of the time. Normalisation, activation, FiLM and residual are one pass.
//
// Needs AVX512F/BW/VL/DQ, AVX512_BF16 for bfloat16 and AVX512_VNNI for 8 bits.

#include "products.hpp"

namespace dp {
namespace {

struct Buffer {
  int rows, channels;  // per sample, with the rows of zeros
  std::vector<float> values;
};

// Where an operation reads or writes: a buffer, its first row and channel, and the rows from one time to the next.
struct Place {
  int32_t buffer, row, channel, step;
};

struct Product {
  int depth, columns, panels, bits;
  Memory packed;              // panels of (depth / g, 32, g) numbers: g = 2 bfloat16 or 4 bytes
  std::vector<float> bias, scale, sum;
};

struct Operation {
  int32_t kind;  // 0 product, 1 normalisation
  int32_t index, times, taps, stride;
  Place from, to, copy, residual;  // buffer < 0: not used
  int32_t film, groups, activation;
};

struct Norm {
  int channels;
  float eps;
  std::vector<float> weight, bias;
};

inline __m512 exponential(__m512 x) {
  const __m512 scaled = _mm512_mul_ps(x, _mm512_set1_ps(1.44269504f));
  const __m512 whole = _mm512_roundscale_ps(scaled, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const __m512 f = _mm512_sub_ps(scaled, whole);
  __m512 p = _mm512_set1_ps(1.5403530e-4f);  // Taylor series of 2^f, |f| <= 1/2
  for (float c : {1.3333558e-3f, 9.6181291e-3f, 5.5504109e-2f, 2.4022651e-1f, 6.9314718e-1f, 1.0f})
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(c));
  return _mm512_scalef_ps(p, whole);
}

inline __m512 activate(__m512 x, int kind) {
  const __m512 e = exponential(_mm512_min_ps(x, _mm512_set1_ps(20.0f)));
  if (kind == 0) {  // mish: x tanh(log(1 + e)) = x n / (n + 2), n = e (e + 2)
    const __m512 n = _mm512_mul_ps(e, _mm512_add_ps(e, _mm512_set1_ps(2.0f)));
    return _mm512_mul_ps(x, _mm512_div_ps(n, _mm512_add_ps(n, _mm512_set1_ps(2.0f))));
  }
  return _mm512_mul_ps(x, _mm512_div_ps(e, _mm512_add_ps(e, _mm512_set1_ps(1.0f))));  // silu
}

class Network {
 public:
  explicit Network(int films) : films_(films) {}

  int add_buffer(int rows, int channels) {
    buffers_.push_back({rows, channels, {}});
    return static_cast<int>(buffers_.size()) - 1;
  }

  int add_product(const float* weight, const float* bias, int columns, int depth, int bits) {
    Product p;
    p.depth = depth, p.columns = columns, p.bits = bits, p.panels = (columns + kColumns - 1) / kColumns;
    const int group = 32 / bits, padded = p.panels * kColumns;
    p.packed = allocate(static_cast<size_t>(padded) * depth * (bits / 8));
    p.bias.assign(padded, 0.0f), p.scale.assign(padded, 0.0f), p.sum.assign(padded, 0.0f);
    for (int n = 0; n < columns; ++n) {
      const float* row = weight + static_cast<size_t>(n) * depth;
      float largest = 0.0f;
      for (int k = 0; k < depth; ++k) largest = std::max(largest, std::fabs(row[k]));
      p.bias[n] = bias[n], p.scale[n] = largest > 0.0f ? largest / 127.0f : 1.0f;
      for (int k = 0; k < depth; ++k) {
        const size_t at = ((static_cast<size_t>(n / kColumns) * (depth / group) + k / group) * kColumns +
                           n % kColumns) * group + k % group;
        if (bits == 16) {
          reinterpret_cast<uint16_t*>(p.packed.get())[at] = rounded(row[k]);
        } else {
          const int value = static_cast<int>(std::lrint(row[k] / p.scale[n]));
          reinterpret_cast<int8_t*>(p.packed.get())[at] = static_cast<int8_t>(value);
          p.sum[n] += static_cast<float>(value);
        }
      }
    }
    products_.push_back(std::move(p));
    return static_cast<int>(products_.size()) - 1;
  }

  int add_norm(const float* weight, const float* bias, int channels, float eps) {
    norms_.push_back({channels, eps, {weight, weight + channels}, {bias, bias + channels}});
    return static_cast<int>(norms_.size()) - 1;
  }

  void add_operation(const Operation& operation) { operations_.push_back(operation); }

  // sample (samples, times, width) into buffer 0; the last buffer's first columns to out.
  void run(const float* sample, const float* films, float* out, int samples, int draws, int times, int width, int wide) {
    reserve(samples);
    Buffer& first = buffers_.front();
    const int before = (first.rows - times) / 2;
    for (int s = 0; s < samples; ++s)
      for (int t = 0; t < times; ++t)
        std::memcpy(&first.values[(static_cast<size_t>(s) * first.rows + before + t) * first.channels],
                    sample + (static_cast<size_t>(s) * times + t) * width, width * sizeof(float));
    for (const Operation& operation : operations_) {
      if (operation.kind == 0) {
        products_[operation.index].bits == 16 ? product<__m512>(operation, samples) : product<__m512i>(operation, samples);
      } else {
        for (int s = 0; s < samples; ++s) normalise(operation, s, films + static_cast<size_t>(s / draws) * films_);
      }
    }
    const Buffer& last = buffers_.back();
    for (int row = 0; row < samples * times; ++row)
      std::memcpy(out + static_cast<size_t>(row) * wide, &last.values[static_cast<size_t>(row) * last.channels],
                  wide * sizeof(float));
  }

 private:
  void reserve(int samples) {
    if (samples <= capacity_) return;
    size_t largest = 0, widest = 0;
    for (Buffer& buffer : buffers_) {
      const size_t size = static_cast<size_t>(samples) * buffer.rows * buffer.channels;
      buffer.values.assign(size + 16, 0.0f);
      largest = std::max(largest, size), widest = std::max<size_t>(widest, buffer.channels);
    }
    input_ = allocate(2 * largest + 128);
    scales_.assign(samples, 1.0f);
    scratch_.assign(2 * (widest + 16), 0.0f);
    rows_.resize(static_cast<size_t>(samples) * buffers_.front().rows);
    outputs_.resize(rows_.size());
    capacity_ = samples;
  }

  float* at(const Place& place, int sample, int time) {
    Buffer& buffer = buffers_[place.buffer];
    return &buffer.values[(static_cast<size_t>(sample) * buffer.rows + place.row + time * place.step) * buffer.channels +
                          place.channel];
  }

  // The whole buffer in the number type of the product, zeros of bytes being 128.
  void convert(const Buffer& buffer, int samples, __m512) {
    const size_t count = static_cast<size_t>(samples) * buffer.rows * buffer.channels;
    for (size_t i = 0; i < count; i += 16)
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(input_.get() + 2 * i),
                          reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_loadu_ps(&buffer.values[i]))));
  }
  void convert(const Buffer& buffer, int samples, __m512i) {
    const size_t count = static_cast<size_t>(buffer.rows) * buffer.channels;
    for (int s = 0; s < samples; ++s) {
      const float* values = &buffer.values[s * count];
      __m512 largest = _mm512_setzero_ps();
      bool finite = true;
      for (size_t i = 0; i < count; i += 16) {
        const __mmask16 mask = within(static_cast<int>(count), static_cast<int>(i));
        const __m512 x = _mm512_maskz_loadu_ps(mask, values + i);
        largest = _mm512_max_ps(largest, _mm512_abs_ps(x));
        finite &= !_mm512_fpclass_ps_mask(x, 0x99);  // NaN or infinite
      }
      const float range = _mm512_reduce_max_ps(largest);
      // Bytes are always finite: by the scale the actions become what is refused.
      scales_[s] = !finite ? std::numeric_limits<float>::quiet_NaN() : range > 0.0f ? range / 127.0f : 1.0f;
      const __m512 inverse = _mm512_set1_ps(1.0f / scales_[s]);
      for (size_t i = 0; i < count; i += 16) {
        const __mmask16 mask = within(static_cast<int>(count), static_cast<int>(i));
        const __m512i whole = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_maskz_loadu_ps(mask, values + i), inverse));
        _mm512_mask_cvtepi32_storeu_epi8(input_.get() + s * count + i, mask,
                                         _mm512_add_epi32(whole, _mm512_set1_epi32(128)));
      }
    }
  }

  template <typename T>
  void product(const Operation& operation, int samples) {
    const Product& p = products_[operation.index];
    const Buffer& source = buffers_[operation.from.buffer];
    const int bytes = p.bits / 8, groups = p.depth * bytes / 4, count = samples * operation.times;
    convert(source, samples, T{});
    for (int s = 0, i = 0; s < samples; ++s)
      for (int t = 0; t < operation.times; ++t, ++i) {
        const size_t row = static_cast<size_t>(s) * source.rows + operation.from.row + t * operation.stride;
        rows_[i] = input_.get() + (row * source.channels + operation.from.channel) * bytes;
        outputs_[i] = at(operation.to, s, t);
      }
    for (int panel = 0; panel < p.panels; ++panel) {
      const uint8_t* weights = p.packed.get() + static_cast<size_t>(panel) * groups * 128;
      for (int first = 0; first < count; first += kMostRows) {
        const int rows = std::min(kMostRows, count - first);
        T sums[kMostRows][2];
        multiply_any<T>(rows, &rows_[first], {1, groups, 0}, weights, sums);
        for (int r = 0; r < rows; ++r)
          for (int half = 0; half < 2; ++half) {
            const int column = panel * kColumns + half * 16;
            store(outputs_[first + r] + column, sums[r][half], p, column, scales_[(first + r) / operation.times]);
          }
      }
    }
  }

  static void store(float* to, __m512 sum, const Product& p, int column, float) {
    _mm512_mask_storeu_ps(to, within(p.columns, column), _mm512_add_ps(sum, _mm512_loadu_ps(&p.bias[column])));
  }
  static void store(float* to, __m512i sum, const Product& p, int column, float scale) {
    const __m512 shift = _mm512_mul_ps(_mm512_loadu_ps(&p.sum[column]), _mm512_set1_ps(128.0f));
    const __m512 factor = _mm512_mul_ps(_mm512_loadu_ps(&p.scale[column]), _mm512_set1_ps(scale));
    const __m512 value = _mm512_sub_ps(_mm512_cvtepi32_ps(sum), shift);
    _mm512_mask_storeu_ps(to, within(p.columns, column),
                          _mm512_fmadd_ps(value, factor, _mm512_loadu_ps(&p.bias[column])));
  }

  // Per channel the factor and the offset of GroupNorm, into scratch.
  void statistics(const Operation& operation, const Norm& norm, int sample) {
    const int channels = norm.channels, per_group = channels / operation.groups;
    float* mean = scratch_.data();
    float* spread = mean + scratch_.size() / 2;
    std::fill(mean, mean + channels, 0.0f), std::fill(spread, spread + channels, 0.0f);
    for (int t = 0; t < operation.times; ++t) {
      const float* x = at(operation.from, sample, t);
      for (int c = 0; c < channels; ++c) mean[c] += x[c];
    }
    const float count = static_cast<float>(per_group * operation.times);
    for (int c = 0; c < channels; c += per_group) {
      float total = 0.0f;
      for (int i = 0; i < per_group; ++i) total += mean[c + i];
      std::fill(mean + c, mean + c + per_group, total / count);
    }
    for (int t = 0; t < operation.times; ++t) {
      const float* x = at(operation.from, sample, t);
      for (int c = 0; c < channels; ++c) spread[c] += (x[c] - mean[c]) * (x[c] - mean[c]);
    }
    for (int c = 0; c < channels; c += per_group) {
      float total = 0.0f;
      for (int i = 0; i < per_group; ++i) total += spread[c + i];
      const float inverse = 1.0f / std::sqrt(total / count + norm.eps);
      for (int i = c; i < c + per_group; ++i) {
        spread[i] = norm.weight[i] * inverse;
        mean[i] = norm.bias[i] - mean[i] * spread[i];
      }
    }
  }

  void normalise(const Operation& operation, int sample, const float* films) {
    const Norm& norm = norms_[operation.index];
    statistics(operation, norm, sample);
    const float* offset = scratch_.data();
    const float* factor = offset + scratch_.size() / 2;
    for (int t = 0; t < operation.times; ++t) {
      const float* x = at(operation.from, sample, t);
      float* to = at(operation.to, sample, t);
      float* copy = operation.copy.buffer >= 0 ? at(operation.copy, sample, t) : nullptr;
      const float* residual = operation.residual.buffer >= 0 ? at(operation.residual, sample, t) : nullptr;
      for (int c = 0; c < norm.channels; c += 16) {
        const __mmask16 mask = within(norm.channels, c);
        auto load = [mask](const float* from) { return _mm512_maskz_loadu_ps(mask, from); };
        __m512 y = activate(_mm512_fmadd_ps(load(x + c), load(factor + c), load(offset + c)), operation.activation);
        if (operation.film >= 0)
          y = _mm512_fmadd_ps(y, load(films + operation.film + c), load(films + operation.film + norm.channels + c));
        if (residual) y = _mm512_add_ps(y, load(residual + c));
        _mm512_mask_storeu_ps(to + c, mask, y);
        if (copy) _mm512_mask_storeu_ps(copy + c, mask, y);
      }
    }
  }

  int films_, capacity_ = 0;
  std::vector<Buffer> buffers_;
  std::vector<Product> products_;
  std::vector<Norm> norms_;
  std::vector<Operation> operations_;
  Memory input_;
  std::vector<float> scales_, scratch_;
  std::vector<const uint8_t*> rows_;
  std::vector<float*> outputs_;
};

}  // namespace
}  // namespace dp

using dp::Network;
using dp::Operation;

extern "C" {

void* dp_network_new(int films) { return new Network(films); }
void dp_network_delete(void* network) { delete static_cast<Network*>(network); }
int dp_network_add_buffer(void* network, int rows, int channels) {
  return static_cast<Network*>(network)->add_buffer(rows, channels);
}
int dp_network_add_product(void* network, const float* weight, const float* bias, int columns, int depth, int bits) {
  return static_cast<Network*>(network)->add_product(weight, bias, columns, depth, bits);
}
int dp_network_add_norm(void* network, const float* weight, const float* bias, int channels, float eps) {
  return static_cast<Network*>(network)->add_norm(weight, bias, channels, eps);
}
void dp_network_add_operation(void* network, const void* operation) {
  static_cast<Network*>(network)->add_operation(*static_cast<const Operation*>(operation));
}
void dp_network_run(void* network, const float* sample, const float* films, float* out, int samples, int draws,
                    int times, int width, int wide) {
  static_cast<Network*>(network)->run(sample, films, out, samples, draws, times, width, wide);
}

}  // extern "C"
