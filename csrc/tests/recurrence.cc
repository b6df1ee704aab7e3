#include "recurrence.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <random>

namespace {

constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

int64_t gates_of(int32_t cell) {
  if (cell >= TT_MIN_GRU) return cell >= TT_MIN_LSTM && cell != TT_LRU ? 3 : 2;
  return cell == TT_LSTM ? 4 : cell <= TT_RNN_RELU ? 1 : 3;
}
bool recurs(int32_t cell) { return cell < TT_MIN_GRU; }
bool has_cell(int32_t cell) { return cell == TT_LSTM || cell == TT_LRU; }
int64_t outputs_of(const tt_problem &p) { return p.cell == TT_LRU ? 2 * p.units : p.units; }

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// vector (rows) times columns [first, first + count) of a matrix of `width` columns, added to `sum`.
void multiply_add(const double *vector, const Doubles &matrix, int64_t rows, int64_t width, int64_t first, int64_t count,
                  double *sum) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < count; ++j) sum[j] += vector[i] * matrix[i * width + first + j];
  }
}

// minGRU and minLSTM: the candidate is the last of the gates' arguments.
double minimal(const tt_problem &p, const Doubles &a, int64_t u, double h) {
  const int64_t H = p.units;
  const int32_t kind = (p.cell - TT_MIN_GRU) % 3;  // plain, tanh, g
  double n = a[(gates_of(p.cell) - 1) * H + u];
  if (kind == 1) n = std::tanh(n);
  if (kind == 2) n = n >= 0.0 ? n + 0.5 : sigmoid(n);
  if (p.cell < TT_MIN_LSTM) return (1.0 - sigmoid(a[u])) * h + sigmoid(a[u]) * n;
  const double f = sigmoid(a[u]), i = sigmoid(a[H + u]);
  return f / (f + i) * h + i / (f + i) * n;
}

// One step: h and c become those after it.
void step(const tt_problem &p, const Inputs &in, const double *x, Doubles &h, Doubles &c) {
  const int64_t H = p.units, G = gates_of(p.cell), width = G * H;
  Doubles a(width, 0.0), b(width, 0.0);  // the parts of x and of h
  if (!in[BIAS].empty()) a = in[BIAS];
  if (!in[RECURRENT_BIAS].empty()) b = in[RECURRENT_BIAS];
  multiply_add(x, in[KERNEL], p.features, width, 0, width, a.data());
  const int64_t at_once = p.cell == TT_GRU_RESET_BEFORE ? 2 * H : width;
  if (recurs(p.cell)) multiply_add(h.data(), in[RECURRENT_KERNEL], H, width, 0, at_once, b.data());
  if (p.cell == TT_GRU_RESET_BEFORE) {
    Doubles reset(H);
    for (int64_t u = 0; u < H; ++u) reset[u] = sigmoid(a[H + u] + b[H + u]) * h[u];
    multiply_add(reset.data(), in[RECURRENT_KERNEL], H, width, 2 * H, H, b.data() + 2 * H);
  }
  for (int64_t u = 0; u < H; ++u) {
    const double first = a[u] + b[u];
    if (p.cell == TT_LRU) {
      const double real = in[RECURRENT_KERNEL][2 * u], imaginary = in[RECURRENT_KERNEL][2 * u + 1], was = h[u];
      h[u] = real * was - imaginary * c[u] + a[u];
      c[u] = real * c[u] + imaginary * was + a[H + u];
    } else if (!recurs(p.cell)) {
      h[u] = minimal(p, a, u, h[u]);
    }
    if (p.cell == TT_RNN_TANH) h[u] = std::tanh(first);
    if (p.cell == TT_RNN_RELU) h[u] = std::fmax(first, 0.0);
    if (p.cell == TT_GRU || p.cell == TT_GRU_RESET_BEFORE) {
      const double z = sigmoid(first), r = p.cell == TT_GRU ? sigmoid(a[H + u] + b[H + u]) : 1.0;
      h[u] = z * h[u] + (1.0 - z) * std::tanh(a[2 * H + u] + r * b[2 * H + u]);
    }
    if (p.cell == TT_LSTM) {
      const double i = sigmoid(first), f = sigmoid(a[H + u] + b[H + u]), g = std::tanh(a[2 * H + u] + b[2 * H + u]);
      c[u] = f * c[u] + i * g;
      h[u] = sigmoid(a[3 * H + u] + b[3 * H + u]) * std::tanh(c[u]);
    }
  }
}

}  // namespace

// Problems -----------------------------------------------------------------------------------------------------------

Floats::Floats(const Doubles &values) {
  if (values.empty()) return;
  values_.push_back(0.0f);
  values_.insert(values_.end(), values.begin(), values.end());
}

bool Floats::operator==(const Floats &other) const {
  return size() == other.size() &&
         (size() == 0 || std::memcmp(data(), other.data(), size() * sizeof(float)) == 0);
}

Recurrence::Recurrence(int32_t cell, Shape shape, Mask kind, unsigned seed) {
  problem.struct_size = sizeof problem;
  problem.cell = cell;
  problem.batch = shape.batch;
  problem.steps = shape.steps;
  problem.features = shape.features;
  problem.units = shape.units;
  std::mt19937 random(seed * 1000u + static_cast<unsigned>(cell * 100 + kind));
  std::normal_distribution<float> normal;
  const auto drawn = [&](size_t count, double scale) {
    Doubles values(count);
    for (double &value : values) value = static_cast<float>(scale * normal(random));
    return values;
  };
  for (int input = X; input < INPUTS; ++input) {
    const double scale = input == KERNEL             ? 1.0 / std::sqrt(shape.features)
                         : input == RECURRENT_KERNEL ? 1.0 / std::sqrt(shape.units)
                                                     : 1.0;
    inputs[input] = drawn(size_of(static_cast<Input>(input)), scale);
  }
  for (int output = Y; output < OUTPUTS; ++output) {
    cotangents[output] = drawn(size_of(static_cast<Output>(output)), 1.0);
  }
  if (kind == NO_MASK) return;
  const int64_t T = shape.steps;
  mask.assign(static_cast<size_t>(shape.batch * T), 0);
  for (int64_t b = 0; b < shape.batch; ++b) {
    // The first lengths are 0, 1 and T; any other byte than 0 stands for a valid step.
    const int64_t length = b == 0 ? 0 : b == 1 ? 1 : b == 2 ? T : static_cast<int64_t>(random() % (T + 1));
    for (int64_t t = 0; t < T; ++t) {
      const bool is_valid = (kind == RIGHT && t < length) || (kind == LEFT && t >= T - length) ||
                            (kind == GAPS && random() % 5 < 3);
      mask[b * T + t] = is_valid ? static_cast<uint8_t>(1 + random() % 255) : 0;
    }
  }
}

bool Recurrence::valid(int64_t sequence, int64_t k) const {
  const int64_t t = problem.reverse ? problem.steps - 1 - k : k;
  return mask.empty() || mask[sequence * problem.steps + t] != 0;
}

size_t Recurrence::size_of(Input input) const {
  const int64_t B = problem.batch, T = problem.steps, F = problem.features, H = problem.units;
  const int64_t width = gates_of(problem.cell) * H;
  switch (input) {
    case X: return B * T * F;
    case H0: return B * H;
    case C0: return has_cell(problem.cell) ? B * H : 0;
    case KERNEL: return F * width;
    case RECURRENT_KERNEL: return problem.cell == TT_LRU ? 2 * H : recurs(problem.cell) ? H * width : 0;
    case BIAS: return width;
    case RECURRENT_BIAS: return problem.cell == TT_GRU ? width : 0;
    default: return 0;
  }
}

size_t Recurrence::size_of(Output output) const {
  const int64_t state = problem.batch * problem.units;
  if (output == Y || output == LAST) {
    return problem.batch * outputs_of(problem) * (output == Y ? problem.steps : 1);
  }
  return output == CN && !has_cell(problem.cell) ? 0 : state;
}

std::string Recurrence::words() const {
  const tt_problem &p = problem;
  std::string words = "cell " + std::to_string(p.cell) + ", B T F H";
  for (const int64_t size : {p.batch, p.steps, p.features, p.units}) words += " " + std::to_string(size);
  words += ", reverse " + std::to_string(p.reverse) + ", masked_output " + std::to_string(p.masked_output);
  return words + ", leading_initial " + std::to_string(p.leading_initial) + ", isa " + std::to_string(p.isa);
}

// Plain loops --------------------------------------------------------------------------------------------------------

Outputs expected_outputs(const Recurrence &recurrence, const Inputs &in, const Nudge &nudge) {
  const tt_problem &p = recurrence.problem;
  const int64_t T = p.steps, F = p.features, H = p.units;
  Outputs out;
  for (int output = Y; output < OUTPUTS; ++output) out[output].assign(recurrence.size_of(static_cast<Output>(output)), 0.0);
  for (int64_t b = 0; b < p.batch; ++b) {
    Doubles h(H, 0.0), c(H, 0.0);
    if (!in[H0].empty()) h.assign(in[H0].begin() + b * H, in[H0].begin() + (b + 1) * H);
    if (!in[C0].empty()) c.assign(in[C0].begin() + b * H, in[C0].begin() + (b + 1) * H);
    const int64_t W = outputs_of(p);
    const auto shown = [&] {
      Doubles output = h;
      if (W > H) output.insert(output.end(), c.begin(), c.end());
      return output;
    };
    Doubles output(W, 0.0);
    if (p.leading_initial && p.masked_output == TT_MASKED_REPEATS) output = shown();
    for (int64_t k = 0; k < T; ++k) {
      if (recurrence.valid(b, k)) {
        step(p, in, &in[X][(b * T + (p.reverse ? T - 1 - k : k)) * F], h, c);
        if (b == nudge.sequence && k == nudge.step) (nudge.of_cell ? c : h)[nudge.unit] += nudge.by;
        output = shown();
      } else if (p.masked_output == TT_MASKED_ZERO) {
        output.assign(W, 0.0);
      }
      for (int64_t u = 0; u < W; ++u) out[Y][(b * T + k) * W + u] = output[u];
    }
    for (int64_t u = 0; u < W; ++u) out[LAST][b * W + u] = output[u];
    for (int64_t u = 0; u < H; ++u) {
      out[HN][b * H + u] = h[u];
      if (has_cell(p.cell)) out[CN][b * H + u] = c[u];
    }
  }
  return out;
}

double expected_loss(const Recurrence &recurrence, const Inputs &in, const Nudge &nudge) {
  const Outputs out = expected_outputs(recurrence, in, nudge);
  double loss = 0.0;
  for (int output = Y; output < OUTPUTS; ++output) {
    const Doubles &by = recurrence.cotangents[output];
    for (size_t i = 0; i < by.size(); ++i) loss += by[i] * out[output][i];
  }
  return loss;
}

// Calls --------------------------------------------------------------------------------------------------------------

Call::Call(const Recurrence &recurrence, const Wanted &wanted, int64_t gap)
    : problem(recurrence.problem), mask_(recurrence.mask) {
  const int64_t B = problem.batch, T = problem.steps, F = problem.features;
  for (int input = H0; input < INPUTS; ++input) arrays_[input] = Floats(recurrence.inputs[input]);
  const int64_t step_stride = F + gap, batch_stride = T * step_stride + 2 * gap;
  arrays_[X] = Floats(static_cast<size_t>(B * batch_stride), kNaN);
  for (int64_t b = 0; b < B; ++b) {
    for (int64_t k = 0; k < T; ++k) {
      if (!recurrence.valid(b, k)) continue;
      const int64_t t = problem.reverse ? T - 1 - k : k;
      for (int64_t f = 0; f < F; ++f) {
        arrays_[X].data()[b * batch_stride + t * step_stride + f] =
            static_cast<float>(recurrence.inputs[X][(b * T + t) * F + f]);
      }
    }
  }
  inputs.struct_size = sizeof inputs;
  inputs.x = arrays_[X].data();
  if (gap != 0) {
    inputs.x_batch_stride = batch_stride;
    inputs.x_step_stride = step_stride;
  }
  inputs.mask = mask_.empty() ? nullptr : mask_.data();
  inputs.h0 = arrays_[H0].data();
  inputs.c0 = arrays_[C0].data();
  inputs.kernel = arrays_[KERNEL].data();
  inputs.recurrent_kernel = arrays_[RECURRENT_KERNEL].data();
  inputs.bias = arrays_[BIAS].data();
  inputs.recurrent_bias = arrays_[RECURRENT_BIAS].data();

  const bool with_cell = has_cell(problem.cell);
  for (int output = Y; output < OUTPUTS; ++output) {
    cotangent_arrays_[output] = Floats(recurrence.cotangents[output]);
    if ((wanted.outputs >> output & 1) == 0 || (output == CN && !with_cell)) continue;
    found.outputs[output] = Floats(recurrence.size_of(static_cast<Output>(output)), kNaN);
  }
  outputs = {sizeof outputs, found.outputs[Y].data(), found.outputs[LAST].data(), found.outputs[HN].data(),
             found.outputs[CN].data(), wanted.ticket ? &ticket : nullptr};
  cotangents = {sizeof cotangents, cotangent_arrays_[Y].data(), cotangent_arrays_[LAST].data(),
                cotangent_arrays_[HN].data(), cotangent_arrays_[CN].data(), 0};
  for (int input = X; input < INPUTS; ++input) {
    if ((wanted.gradients >> input & 1) == 0) continue;
    if ((input == C0 && !with_cell) || (input == RECURRENT_BIAS && problem.cell != TT_GRU)) continue;
    found.gradients[input] = Floats(recurrence.size_of(static_cast<Input>(input)), kNaN);
  }
  if (wanted.norms) found.norms = Floats(static_cast<size_t>(B * T), kNaN);
  gradients = {sizeof gradients, found.gradients[X].data(), found.gradients[KERNEL].data(),
               found.gradients[RECURRENT_KERNEL].data(), found.gradients[BIAS].data(),
               found.gradients[RECURRENT_BIAS].data(), found.gradients[H0].data(), found.gradients[C0].data(),
               found.norms.data(), 0};
}

int32_t Call::forward() { return found.forward_status = tt_forward(&problem, &inputs, &outputs); }

int32_t Call::backward() {
  cotangents.ticket = ticket;
  return found.backward_status = tt_backward(&problem, &inputs, &cotangents, &gradients);
}

Found Call::both() {
  forward();
  backward();
  return found;
}

Found results(const Recurrence &recurrence, const Wanted &wanted) { return Call(recurrence, wanted).both(); }

bool Found::operator==(const Found &other) const {
  return forward_status == other.forward_status && backward_status == other.backward_status &&
         outputs == other.outputs && gradients == other.gradients && norms == other.norms;
}

std::vector<int32_t> supported_isas() {
  std::vector<int32_t> isas;
  for (const int32_t isa : {TT_ISA_PORTABLE, TT_ISA_AVX2, TT_ISA_AVX512}) {
    if (tt_isa_supported(isa)) isas.push_back(isa);
  }
  return isas;
}
