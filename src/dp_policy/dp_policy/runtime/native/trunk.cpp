// Feature maps of a ResNet for one image on one core, in bfloat16 with float32 sums and norms.
//
// Maps are (row, column, channel) with a border of zeros, so that the taps of one kernel row are one run of numbers.
// Convolutions of 3x3 with stride 1 go by Winograd's F(2x2, 3x3) (Lavin & Gray, arXiv 1509.09308): 16 products instead
// of 36 per 2x2 outputs; its transforms only add, which bfloat16 survives. Tiles are transformed, multiplied and
// transformed back in blocks that stay in the cache. Others are products without unfolding.

#include "products.hpp"

namespace dp {
namespace {

constexpr int kStemBorder = 3, kStemDepth = 22;  // 7 taps of 3 channels and one of weight zero
constexpr int kTilesAtOnce = 72;

struct Map {  // bfloat16 with a border; even sizes, for tiles that reach past the edge
  int height = 0, width = 0, channels = 0, border = 1;
  Memory values;

  int row_length() const { return (width + 1) / 2 * 2 + 2 * border; }
  uint16_t* at(int row, int column) const {  // counted from the border's corner
    return reinterpret_cast<uint16_t*>(values.get()) + (static_cast<size_t>(row) * row_length() + column) * channels;
  }
  void shape(int rows, int columns, int depth, int edge = 1) {
    height = rows, width = columns, channels = depth, border = edge;
    values = allocate(static_cast<size_t>((rows + 1) / 2 * 2 + 2 * edge) * row_length() * depth * 2 + 64);
  }
};

struct Layer {
  int in, out, kernel, stride, groups;
  bool winograd;
  float eps;
  Memory packed;
  std::vector<float> weight, bias;   // of the norm
  std::vector<float> factor, offset; // what the norm does to the last image
};

inline __m512 widen(const uint16_t* from) {
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  return _mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
}
inline void narrow(uint16_t* to, __m512 values) {
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(values)));
}

// Weights (columns, depth) by a function into panels of (depth / 2, 32, 2).
template <typename Weight>
void pack(uint16_t* to, int columns, int depth, Weight weight) {
  for (int n = 0; n < columns; ++n)
    for (int k = 0; k < depth; ++k)
      to[((static_cast<size_t>(n / kColumns) * (depth / 2) + k / 2) * kColumns + n % kColumns) * 2 + k % 2] =
          rounded(weight(n, k));
}

class Trunk {
 public:
  Trunk(int height, int width) : height_(height), width_(width) { input_.shape(height, width, 3, kStemBorder); }

  // weight (out, kernel, kernel, in); groups 0: the norm's weight and bias are used as they are.
  void add_layer(const float* weight, int out, int in, int kernel, int stride, const float* scale, const float* bias,
                 int groups, float eps) {
    Layer layer{in, out, kernel, stride, groups, kernel == 3 && stride == 1, eps, {}, {scale, scale + out},
                {bias, bias + out}, {}, {}};
    layer.factor.assign(out, 0.0f), layer.offset.assign(out, 0.0f);
    auto tap = [=](int n, int row, int column, int c) {
      return weight[((static_cast<size_t>(n) * kernel + row) * kernel + column) * in + c];
    };
    if (layer.winograd) {
      const size_t size = static_cast<size_t>(out) * in;
      layer.packed = allocate(16 * size * 2);
      for (int i = 0; i < 16; ++i)
        pack(reinterpret_cast<uint16_t*>(layer.packed.get()) + i * size, out, in, [&](int n, int c) {
          static const float g[4][3] = {{1, 0, 0}, {.5f, .5f, .5f}, {.5f, -.5f, .5f}, {0, 0, 1}};
          float sum = 0.0f;
          for (int a = 0; a < 3; ++a)
            for (int b = 0; b < 3; ++b) sum += g[i / 4][a] * g[i % 4][b] * tap(n, a, b, c);
          return sum;
        });
    } else {
      const int run = in == 3 ? kStemDepth : kernel * in;
      layer.packed = allocate(static_cast<size_t>(out) * kernel * run * 2);
      pack(reinterpret_cast<uint16_t*>(layer.packed.get()), out, kernel * run, [&](int n, int k) {
        const int row = k / run, at = k % run;
        return at < kernel * in ? tap(n, row, at / in, at % in) : 0.0f;
      });
    }
    layers_.push_back(std::move(layer));
  }

  // image (height, width, 3) float32 to out (ceil(height / 32), ceil(width / 32), channels) float32.
  void run(const float* image, float* out) {
    for (int y = 0; y < height_; ++y) {
      uint16_t* row = input_.at(y + kStemBorder, kStemBorder);
      for (int x = 0; x < 3 * width_; ++x) row[x] = rounded(image[static_cast<size_t>(y) * 3 * width_ + x]);
    }
    size_t next = 0;
    Layer& stem = layers_[next++];
    convolve(stem, input_, sums_);
    if (maps_.empty()) maps_.resize(layers_.size());
    pool(stem, maps_[0]);
    const Map* x = &maps_[0];
    while (next < layers_.size()) {
      const size_t first = next;
      Layer &one = layers_[next], &two = layers_[next + 1];
      const bool down = one.in != two.out || one.stride != 1;
      next += down ? 3 : 2;
      Map &middle = maps_[first], &to = maps_[first + 1];
      convolve(one, *x, sums_);
      finish(one, nullptr, nullptr, middle, nullptr);
      convolve(two, middle, sums_);
      const int rows = size_.rows, columns = size_.columns;
      if (down) convolve(layers_[first + 2], *x, skipped_);
      size_ = {rows, columns};
      const bool last = next == layers_.size();
      finish(two, down ? nullptr : x, down ? &layers_[first + 2] : nullptr, to, last ? out : nullptr);
      x = &to;
    }
  }

 private:
  struct Size {
    int rows, columns;
  };

  void convolve(Layer& layer, const Map& from, std::vector<float>& sums) {
    size_ = {(from.height + layer.stride - 1) / layer.stride, (from.width + layer.stride - 1) / layer.stride};
    const size_t needed = static_cast<size_t>(size_.rows) * size_.columns * layer.out;
    if (sums.size() < needed) sums.resize(needed);
    layer.winograd ? by_tiles(layer, from, sums.data()) : directly(layer, from, sums.data());
    measure(layer, sums.data());
  }

  void directly(const Layer& layer, const Map& from, float* sums) {
    const int run = layer.in == 3 ? kStemDepth : layer.kernel * layer.in, shift = from.border - layer.kernel / 2;
    const Runs runs{layer.kernel, run / 2, static_cast<size_t>(from.row_length()) * from.channels * 2};
    const uint8_t* rows[kMostRows];
    __m512 block[kMostRows][2];
    for (int y = 0; y < size_.rows; ++y)
      for (int panel = 0; panel < layer.out / kColumns; ++panel) {
        const uint8_t* weights = layer.packed.get() + static_cast<size_t>(panel) * layer.kernel * run * kColumns * 2;
        for (int x = 0; x < size_.columns; x += kMostRows) {
          const int count = std::min(kMostRows, size_.columns - x);
          for (int r = 0; r < count; ++r)
            rows[r] = reinterpret_cast<const uint8_t*>(
                from.at(y * layer.stride + shift, (x + r) * layer.stride + shift));
          multiply_any<__m512>(count, rows, runs, weights, block);
          float* to = sums + (static_cast<size_t>(y) * size_.columns + x) * layer.out + panel * kColumns;
          for (int r = 0; r < count; ++r)
            for (int half = 0; half < 2; ++half) _mm512_storeu_ps(to + r * layer.out + 16 * half, block[r][half]);
        }
      }
  }

  void by_tiles(const Layer& layer, const Map& from, float* sums) {
    const int down = (size_.rows + 1) / 2, across = (size_.columns + 1) / 2, tiles = down * across;
    spread_.resize(16 * static_cast<size_t>(kTilesAtOnce) * layer.in);
    products_.resize(16 * static_cast<size_t>(kTilesAtOnce) * layer.out);
    for (int first = 0; first < tiles; first += kTilesAtOnce) {
      const int count = std::min(kTilesAtOnce, tiles - first);
      for (int t = 0; t < count; ++t) spread(from, (first + t) / across, (first + t) % across, t, layer.in);
      multiply_tiles(layer, count);
      for (int t = 0; t < count; ++t) gather(layer.out, (first + t) / across, (first + t) % across, t, sums);
    }
  }

  void spread(const Map& from, int down, int across, int tile, int channels) {
    for (int c = 0; c < channels; c += 16) {
      __m512 d[4][4], e[4][4];
      for (int a = 0; a < 4; ++a)
        for (int b = 0; b < 4; ++b) d[a][b] = widen(from.at(2 * down + a, 2 * across + b) + c);
      for (int b = 0; b < 4; ++b) {
        e[0][b] = _mm512_sub_ps(d[0][b], d[2][b]), e[1][b] = _mm512_add_ps(d[1][b], d[2][b]);
        e[2][b] = _mm512_sub_ps(d[2][b], d[1][b]), e[3][b] = _mm512_sub_ps(d[1][b], d[3][b]);
      }
      uint16_t* to = spread_.data() + static_cast<size_t>(tile) * channels + c;
      const size_t apart = static_cast<size_t>(kTilesAtOnce) * channels;
      for (int a = 0; a < 4; ++a) {
        narrow(to + (4 * a) * apart, _mm512_sub_ps(e[a][0], e[a][2]));
        narrow(to + (4 * a + 1) * apart, _mm512_add_ps(e[a][1], e[a][2]));
        narrow(to + (4 * a + 2) * apart, _mm512_sub_ps(e[a][2], e[a][1]));
        narrow(to + (4 * a + 3) * apart, _mm512_sub_ps(e[a][1], e[a][3]));
      }
    }
  }

  void multiply_tiles(const Layer& layer, int count) {
    const uint8_t* rows[kMostRows];
    __m512 block[kMostRows][2];
    const size_t panel_size = static_cast<size_t>(layer.in) * kColumns * 2;
    for (int i = 0; i < 16; ++i)
      for (int panel = 0; panel < layer.out / kColumns; ++panel) {
        const uint8_t* weights = layer.packed.get() + (static_cast<size_t>(i) * (layer.out / kColumns) + panel) * panel_size;
        for (int t = 0; t < count; t += kMostRows) {
          const int here = std::min(kMostRows, count - t);
          for (int r = 0; r < here; ++r)
            rows[r] = reinterpret_cast<const uint8_t*>(
                spread_.data() + (static_cast<size_t>(i) * kTilesAtOnce + t + r) * layer.in);
          multiply_any<__m512>(here, rows, {1, layer.in / 2, 0}, weights, block);
          float* to = products_.data() + (static_cast<size_t>(i) * kTilesAtOnce + t) * layer.out + panel * kColumns;
          for (int r = 0; r < here; ++r)
            for (int half = 0; half < 2; ++half) _mm512_storeu_ps(to + r * layer.out + 16 * half, block[r][half]);
        }
      }
  }

  void gather(int channels, int down, int across, int tile, float* sums) {
    const size_t apart = static_cast<size_t>(kTilesAtOnce) * channels;
    const bool below = 2 * down + 1 < size_.rows, beside = 2 * across + 1 < size_.columns;
    float* to = sums + (static_cast<size_t>(2 * down) * size_.columns + 2 * across) * channels;
    for (int c = 0; c < channels; c += 16) {
      __m512 m[4][4], e[2][4];
      const float* from = products_.data() + static_cast<size_t>(tile) * channels + c;
      for (int i = 0; i < 16; ++i) m[i / 4][i % 4] = _mm512_loadu_ps(from + i * apart);
      for (int b = 0; b < 4; ++b) {
        e[0][b] = _mm512_add_ps(_mm512_add_ps(m[0][b], m[1][b]), m[2][b]);
        e[1][b] = _mm512_sub_ps(_mm512_sub_ps(m[1][b], m[2][b]), m[3][b]);
      }
      for (int a = 0; a < (below ? 2 : 1); ++a) {
        float* row = to + static_cast<size_t>(a) * size_.columns * channels + c;
        _mm512_storeu_ps(row, _mm512_add_ps(_mm512_add_ps(e[a][0], e[a][1]), e[a][2]));
        if (beside) _mm512_storeu_ps(row + channels, _mm512_sub_ps(_mm512_sub_ps(e[a][1], e[a][2]), e[a][3]));
      }
    }
  }

  // The factor and the offset that the norm is for these sums.
  void measure(Layer& layer, const float* sums) {
    if (!layer.groups) {
      layer.factor = layer.weight, layer.offset = layer.bias;
      return;
    }
    const int pixels = size_.rows * size_.columns, per_group = layer.out / layer.groups;
    totals_.assign(2 * layer.out, 0.0);
    for (int y = 0; y < size_.rows; ++y) {
      for (int c = 0; c < layer.out; c += 16) {
        __m512 sum = _mm512_setzero_ps(), squares = sum;
        for (int x = 0; x < size_.columns; ++x) {
          const __m512 v = _mm512_loadu_ps(sums + (static_cast<size_t>(y) * size_.columns + x) * layer.out + c);
          sum = _mm512_add_ps(sum, v), squares = _mm512_fmadd_ps(v, v, squares);
        }
        float parts[32];
        _mm512_storeu_ps(parts, sum), _mm512_storeu_ps(parts + 16, squares);
        for (int i = 0; i < 16; ++i) totals_[c + i] += parts[i], totals_[layer.out + c + i] += parts[16 + i];
      }
    }
    for (int first = 0; first < layer.out; first += per_group) {
      double sum = 0.0, squares = 0.0;
      for (int c = first; c < first + per_group; ++c) sum += totals_[c], squares += totals_[layer.out + c];
      const double count = static_cast<double>(pixels) * per_group, mean = sum / count;
      const double inverse = 1.0 / std::sqrt(std::max(squares / count - mean * mean, 0.0) + layer.eps);
      for (int c = first; c < first + per_group; ++c) {
        layer.factor[c] = static_cast<float>(layer.weight[c] * inverse);
        layer.offset[c] = static_cast<float>(layer.bias[c] - mean * layer.weight[c] * inverse);
      }
    }
  }

  // Norm, skip and ReLU of the sums, into a map or, as float32, to `out`.
  void finish(const Layer& layer, const Map* skip, const Layer* down, Map& to, float* out) {
    if (!to.channels) to.shape(size_.rows, size_.columns, layer.out);
    for (int y = 0; y < size_.rows; ++y)
      for (int x = 0; x < size_.columns; ++x) {
        const size_t at = (static_cast<size_t>(y) * size_.columns + x) * layer.out;
        uint16_t* row = to.at(y + 1, x + 1);
        for (int c = 0; c < layer.out; c += 16) {
          __m512 v = scaled(layer, sums_.data() + at, c);
          if (skip) v = _mm512_add_ps(v, widen(skip->at(y + 1, x + 1) + c));
          if (down) v = _mm512_add_ps(v, scaled(*down, skipped_.data() + at, c));
          v = _mm512_max_ps(v, _mm512_setzero_ps());
          out ? _mm512_storeu_ps(out + at + c, v) : narrow(row + c, v);
        }
      }
  }

  static __m512 scaled(const Layer& layer, const float* sums, int c) {
    return _mm512_fmadd_ps(_mm512_loadu_ps(sums + c), _mm512_loadu_ps(&layer.factor[c]),
                           _mm512_loadu_ps(&layer.offset[c]));
  }

  // Norm, ReLU and the largest of 3x3 with stride 2.
  void pool(const Layer& stem, Map& to) {
    const int rows = (size_.rows + 1) / 2, columns = (size_.columns + 1) / 2;
    if (!to.channels) to.shape(rows, columns, stem.out);
    for (int y = 0; y < rows; ++y)
      for (int x = 0; x < columns; ++x)
        for (int c = 0; c < stem.out; c += 16) {
          __m512 largest = _mm512_setzero_ps();  // ReLU
          for (int b = std::max(2 * y - 1, 0); b < std::min(2 * y + 2, size_.rows); ++b)
            for (int a = std::max(2 * x - 1, 0); a < std::min(2 * x + 2, size_.columns); ++a)
              largest = _mm512_max_ps(
                  largest, scaled(stem, &sums_[(static_cast<size_t>(b) * size_.columns + a) * stem.out], c));
          narrow(to.at(y + 1, x + 1) + c, largest);
        }
  }

  int height_, width_;
  Size size_{};
  Map input_;
  std::vector<Layer> layers_;
  std::vector<Map> maps_;
  std::vector<float> sums_, skipped_, products_;
  std::vector<uint16_t> spread_;
  std::vector<double> totals_;
};

}  // namespace
}  // namespace dp

using dp::Trunk;

extern "C" {

void* dp_trunk_new(int height, int width) { return new Trunk(height, width); }
void dp_trunk_delete(void* trunk) { delete static_cast<Trunk*>(trunk); }
void dp_trunk_add_layer(void* trunk, const float* weight, int out, int in, int kernel, int stride, const float* scale,
                        const float* bias, int groups, float eps) {
  static_cast<Trunk*>(trunk)->add_layer(weight, out, in, kernel, stride, scale, bias, groups, eps);
}
void dp_trunk_run(void* trunk, const float* image, float* out) { static_cast<Trunk*>(trunk)->run(image, out); }

}  // extern "C"
