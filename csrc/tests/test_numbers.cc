// Outputs against plain loops of doubles; gradients and norms against differences of those loops' loss.
#include <algorithm>
#include <cmath>
#include <random>

#include "check.h"
#include "recurrence.h"

namespace {

// A sum of n terms in float32 is off by a few units of the last place, 6e-8, of its largest terms, and a recurrence
// carries that on for some steps. A wrong term is off by 1e-2 and more.
constexpr double kTolerance = 1e-5;
constexpr double kStep = 1e-6;  // of central differences in double: exact to 1e-9

const char *const kOutputNames[] = {"y", "last", "hn", "cn"};
const char *const kInputNames[] = {"x", "h0", "c0", "kernel", "recurrent_kernel", "bias", "recurrent_bias"};

double norm(const Doubles &values) {
  double sum = 0.0;
  for (const double value : values) sum += value * value;
  return std::sqrt(sum);
}

void check_outputs(const Recurrence &recurrence, const Found &found) {
  const Outputs expected = expected_outputs(recurrence, recurrence.inputs);
  for (int output = Y; output < OUTPUTS; ++output) {
    const Doubles values = found.outputs[output].doubles();
    EXPECT(values.size() == expected[output].size(), kOutputNames[output]);
    double worst = 0.0, largest = 1.0;
    for (size_t i = 0; i < values.size(); ++i) {
      const double error = std::fabs(values[i] - expected[output][i]);
      worst = error <= worst ? worst : error;  // NaN is the worst
      largest = std::max(largest, std::fabs(expected[output][i]));
    }
    EXPECT(worst <= kTolerance * largest,
           kOutputNames[output] + (" is off by " + std::to_string(worst)) + " at " + recurrence.words());
  }
}

// One random direction for each input: how fast the loss changes along it, and what its gradient says.
void check_gradients(const Recurrence &recurrence, const Found &found) {
  std::mt19937 random(7);
  std::normal_distribution<double> normal;
  for (int input = X; input < INPUTS; ++input) {
    const Doubles gradient = found.gradients[input].doubles();
    EXPECT(gradient.size() == recurrence.size_of(static_cast<Input>(input)), kInputNames[input]);
    // An absent input is zero, and has a gradient all the same.
    Inputs above = recurrence.inputs, below = recurrence.inputs;
    above[input].resize(gradient.size(), 0.0);
    below[input].resize(gradient.size(), 0.0);
    Doubles direction(gradient.size());
    double along = 0.0;
    for (size_t i = 0; i < gradient.size(); ++i) {
      direction[i] = normal(random);
      above[input][i] += kStep * direction[i];
      below[input][i] -= kStep * direction[i];
      along += gradient[i] * direction[i];
    }
    const double expected = (expected_loss(recurrence, above) - expected_loss(recurrence, below)) / (2 * kStep);
    const double scale = std::max(1.0, norm(gradient)) * std::max(1.0, norm(direction));
    EXPECT(std::fabs(along - expected) <= kTolerance * scale,
           "d" + std::string(kInputNames[input]) + ": " + std::to_string(along) + " along a direction, not " +
               std::to_string(expected) + ", at " + recurrence.words());
  }
  const int64_t B = recurrence.problem.batch, T = recurrence.problem.steps, F = recurrence.problem.features;
  for (int64_t b = 0; b < B; ++b) {
    for (int64_t k = 0; k < T; ++k) {
      if (recurrence.valid(b, k)) continue;
      const int64_t t = recurrence.problem.reverse ? T - 1 - k : k;
      const float *dx = found.gradients[X].data() + (b * T + t) * F;
      EXPECT(std::all_of(dx, dx + F, [](float value) { return value == 0.0f; }), "dx of a masked step is not 0");
      EXPECT(found.norms.data()[b * T + k] == 0.0f, "the norm of a masked step is not 0");
    }
  }
}

void check_all(const Recurrence &recurrence) {
  const Found found = results(recurrence);
  EXPECT(found.forward_status == TT_OK && found.backward_status == TT_OK, recurrence.words());
  check_outputs(recurrence, found);
  check_gradients(recurrence, found);
}

TEST(every_mask_and_flag) {
  for (const int32_t isa : supported_isas()) {
    for (const int32_t cell : kCells) {
      for (int mask = NO_MASK; mask < MASKS; ++mask) {
        for (int flags = 0; flags < 8; ++flags) {
          Recurrence recurrence(cell, {5, 7, 3, 6}, static_cast<Mask>(mask), static_cast<unsigned>(flags));
          recurrence.problem.reverse = flags & 1;
          recurrence.problem.masked_output = flags & 2 ? TT_MASKED_ZERO : TT_MASKED_REPEATS;
          recurrence.problem.leading_initial = flags >> 2;
          recurrence.problem.isa = isa;
          check_all(recurrence);
        }
      }
    }
  }
}

TEST(sizes_around_those_of_vectors_and_tiles) {
  for (const int32_t isa : supported_isas()) {
    for (const int32_t cell : kCells) {
      for (const int64_t units : {1, 8, 15, 16, 17, 33}) {
        for (const int64_t features : {1, 16, 18}) {
          for (const int64_t batch : {1, 15}) {
            Recurrence recurrence(cell, {batch, 3, features, units}, units % 2 ? RIGHT : NO_MASK);
            recurrence.problem.isa = isa;
            check_all(recurrence);
          }
        }
      }
    }
  }
}

TEST(edges_of_the_batch) {
  for (const int32_t cell : kCells) {
    for (const Shape shape : {Shape{0, 3, 2, 5}, Shape{3, 0, 2, 5}, Shape{0, 0, 2, 5}, Shape{1, 1, 1, 1}}) {
      for (int leading_initial = 0; leading_initial < 2; ++leading_initial) {
        Recurrence recurrence(cell, shape, NO_MASK);
        recurrence.problem.leading_initial = leading_initial;
        check_all(recurrence);
      }
    }
  }
}

TEST(work_for_several_threads) {
  for (const int32_t isa : supported_isas()) {
    for (const int32_t cell : kCells) {
      for (const Mask mask : {GAPS, RIGHT}) {
        Recurrence recurrence(cell, {33, 41, 19, 35}, mask);
        recurrence.problem.isa = isa;
        recurrence.problem.threads = 3;
        check_all(recurrence);
      }
    }
  }
}

TEST(a_long_sequence_among_short_ones) {
  Recurrence recurrence(TT_LSTM, {6, 1500, 2, 9}, RIGHT);
  recurrence.problem.threads = 2;
  check_all(recurrence);
}

TEST(inputs_that_are_absent_are_zero) {
  for (const int32_t cell : kCells) {
    for (const auto &absent : {std::vector<Input>{BIAS, RECURRENT_BIAS}, std::vector<Input>{H0, C0},
                               std::vector<Input>{BIAS, RECURRENT_BIAS, H0, C0}, std::vector<Input>{BIAS},
                               std::vector<Input>{RECURRENT_BIAS}, std::vector<Input>{C0}}) {
      Recurrence recurrence(cell, {4, 6, 3, 17}, GAPS);
      recurrence.problem.leading_initial = 1;
      for (const Input input : absent) recurrence.inputs[input].clear();
      check_all(recurrence);
    }
  }
}

TEST(cotangents_that_are_absent_are_zero) {
  for (const int32_t cell : kCells) {
    for (int only = Y; only <= OUTPUTS; ++only) {
      Recurrence recurrence(cell, {4, 6, 3, 17}, GAPS);
      for (int output = Y; output < OUTPUTS; ++output) {
        if (output != only) recurrence.cotangents[output].clear();
      }
      check_all(recurrence);
    }
  }
}

TEST(x_with_strides) {
  for (const int32_t cell : kCells) {
    const Recurrence recurrence(cell, {4, 6, 5, 17}, RIGHT);
    EXPECT(Call(recurrence, {}, 3).both() == results(recurrence), recurrence.words());
  }
}

TEST(norms_are_those_of_the_whole_gradient) {
  for (const int32_t isa : supported_isas()) {
    for (const int32_t cell : kCells) {
      for (int reverse = 0; reverse < 2; ++reverse) {
        Recurrence recurrence(cell, {4, 5, 3, 6}, GAPS);
        recurrence.problem.isa = isa;
        recurrence.problem.reverse = reverse;
        const Found found = results(recurrence);
        for (int64_t b = 0; b < 4; ++b) {
          for (int64_t k = 0; k < 5; ++k) {
            if (!recurrence.valid(b, k)) continue;
            Doubles dh;
            for (int64_t u = 0; u < (cell == TT_LRU ? 12 : 6); ++u) {  // of an LRU also the imaginary parts
              const Nudge up{b, k, u % 6, kStep, u >= 6}, down{b, k, u % 6, -kStep, u >= 6};
              dh.push_back((expected_loss(recurrence, recurrence.inputs, up) -
                            expected_loss(recurrence, recurrence.inputs, down)) / (2 * kStep));
            }
            const double difference = found.norms.data()[b * 5 + k] - norm(dh);
            EXPECT(std::fabs(difference) <= kTolerance * std::max(1.0, norm(dh)),
                   "off by " + std::to_string(difference) + " at " + recurrence.words());
          }
        }
      }
    }
  }
}

}  // namespace
