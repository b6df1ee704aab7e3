// A random problem with its inputs and cotangents; what it comes to in plain loops of doubles; and calls of the ABI on it.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "throughtime.h"

// The arrays of throughtime.h by number. An input that is an empty vector is absent: NULL to the library.
enum Input { X, H0, C0, KERNEL, RECURRENT_KERNEL, BIAS, RECURRENT_BIAS, INPUTS };
enum Output { Y, LAST, HN, CN, OUTPUTS };

using Doubles = std::vector<double>;
using Inputs = std::array<Doubles, INPUTS>;
using Outputs = std::array<Doubles, OUTPUTS>;

// Floats at an address that only 4 divides, with nothing allocated behind them, so that the sanitizer sees what is read
// or written too far, and aligned instructions stop the program.
class Floats {
 public:
  Floats() = default;  // absent
  Floats(size_t count, float value) : values_(count + 1, value) {}
  explicit Floats(const Doubles &values);

  float *data() { return values_.empty() ? nullptr : values_.data() + 1; }
  const float *data() const { return values_.empty() ? nullptr : values_.data() + 1; }
  size_t size() const { return values_.empty() ? 0 : values_.size() - 1; }
  Doubles doubles() const { return Doubles(data(), data() + size()); }
  bool operator==(const Floats &other) const;  // bit for bit

 private:
  std::vector<float> values_;
};

enum Mask { NO_MASK, RIGHT, LEFT, GAPS, ALL_MASKED, MASKS };

struct Shape {
  int64_t batch, steps, features, units;
};

struct Recurrence {
  Recurrence(int32_t cell, Shape shape, Mask mask, unsigned seed = 0);

  bool valid(int64_t sequence, int64_t step) const;  // step of processing
  size_t size_of(Input input) const;
  size_t size_of(Output output) const;
  std::string words() const;

  tt_problem problem{};
  std::vector<uint8_t> mask;  // empty: NULL
  Inputs inputs;              // float32 values
  Outputs cotangents;         // float32 values; empty: NULL
};

// A nudge to one unit of h at one step of one sequence, inside the recurrence.
struct Nudge {
  int64_t sequence = -1, step = -1, unit = -1;
  double by = 0.0;
  bool of_cell = false;  // to c
};

Outputs expected_outputs(const Recurrence &recurrence, const Inputs &inputs, const Nudge &nudge = {});

// Sum of outputs times cotangents.
double expected_loss(const Recurrence &recurrence, const Inputs &inputs, const Nudge &nudge = {});

// What is asked of the library, one bit an array.
struct Wanted {
  unsigned outputs = ~0u, gradients = ~0u;
  bool norms = true;
  bool ticket = true;  // false: backward computes the activations anew
};

struct Found {
  int32_t forward_status = TT_OK, backward_status = TT_OK;
  std::array<Floats, OUTPUTS> outputs;
  std::array<Floats, INPUTS> gradients;  // of the inputs, by their numbers
  Floats norms;

  bool operator==(const Found &other) const;
};

// The arguments of the library's functions for one recurrence. What x holds at masked steps is NaN, and outputs hold NaN
// before they are written.
class Call {
 public:
  // `gap` more floats lie between the steps of x, and twice as many between its sequences; they are NaN.
  explicit Call(const Recurrence &recurrence, const Wanted &wanted = {}, int64_t gap = 0);
  Call(const Call &) = delete;
  Call &operator=(const Call &) = delete;

  int32_t forward();
  int32_t backward();
  Found both();

  tt_problem problem;
  tt_inputs inputs{};
  tt_forward_outputs outputs{};
  tt_cotangents cotangents{};
  tt_gradients gradients{};
  uint64_t ticket = 0;
  Found found;

 private:
  std::array<Floats, INPUTS> arrays_;
  std::array<Floats, OUTPUTS> cotangent_arrays_;
  std::vector<uint8_t> mask_;
};

// forward() and backward() of a Call.
Found results(const Recurrence &recurrence, const Wanted &wanted = {});

std::vector<int32_t> supported_isas();
constexpr int32_t kCells[] = {TT_RNN_TANH, TT_RNN_RELU, TT_GRU, TT_GRU_RESET_BEFORE, TT_LSTM, TT_MIN_GRU,
                              TT_MIN_GRU_TANH, TT_MIN_GRU_G, TT_MIN_LSTM, TT_MIN_LSTM_TANH, TT_MIN_LSTM_G, TT_LRU};
