/* The plain C ABI of throughtime's CPU kernels: SimpleRNN, GRU, LSTM, minGRU, minLSTM and LRU over the valid time steps
 * of a padded batch.
 *
 * Axes: B sequences, T steps of the container, F features, H units, G gates (1 to 4). All arrays are dense, row-major
 * float32 unless said otherwise, aligned to 4 bytes or more. Weights are laid out as Keras lays them out: `kernel`
 * (F, G*H), `recurrent_kernel` (H, G*H), `bias` (G*H); gates in the order i, f, g, o (LSTM), z, r, n (GRU), z, n (minGRU)
 * and f, i, n (minLSTM). The gates of minGRU and minLSTM see no state: they have no recurrent_kernel, which is NULL.
 *
 * TT_LRU is the complex recurrence s' = lambda s + x kernel, for H numbers each by itself. Its h and c are the real and the
 * imaginary parts of s, its y and last (B, T, 2H) and (B, 2H), real parts first, its kernel (F, 2H) likewise, and its
 * recurrent_kernel (H, 2): real and imaginary part of each lambda.
 *
 * A step k = 0 .. T-1 is a place in the order of processing. With `reverse`, step k reads x and mask at T-1-k; y, dy and
 * norms are always indexed by k, as Keras's `go_backwards` is. Masked steps are passed over: they cost no arithmetic, and
 * what x holds there is never read, so it may be NaN.
 *
 * No input array is written to. No output array may overlap another array. Functions may be called from several threads
 * at once and after fork(). Nothing is thrown across this boundary.
 */
#ifndef THROUGHTIME_H
#define THROUGHTIME_H

#include <stdint.h>

#if defined(__GNUC__)
#define TT_API __attribute__((visibility("default")))
#else
#define TT_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define TT_ABI_VERSION 4

/* Which recurrence. */
enum {
  TT_RNN_TANH = 0,         /* SimpleRNN, activation tanh */
  TT_RNN_RELU = 1,         /* SimpleRNN, activation relu */
  TT_GRU = 2,              /* GRU(reset_after=True), Keras's default */
  TT_GRU_RESET_BEFORE = 3, /* GRU(reset_after=False) */
  TT_LSTM = 4,
  TT_MIN_GRU = 5,          /* minGRU (Feng et al. 2024); the candidate n as it is */
  TT_MIN_GRU_TANH = 6,     /* tanh(n) */
  TT_MIN_GRU_G = 7,        /* g(n): n + 1/2 where n >= 0, else sigmoid(n) */
  TT_MIN_LSTM = 8,         /* minLSTM, likewise */
  TT_MIN_LSTM_TANH = 9,
  TT_MIN_LSTM_G = 10,
  TT_LRU = 11              /* of a linear recurrent unit (Orvieto et al. 2023) the recurrence, without C and D */
};

/* What y holds at a masked step. */
enum {
  TT_MASKED_REPEATS = 0, /* the output of the last valid step before it; before the first one: see leading_initial */
  TT_MASKED_ZERO = 1     /* zero: Keras's zero_output_for_mask */
};

/* Instruction sets. */
enum { TT_ISA_AUTO = 0, TT_ISA_PORTABLE = 1, TT_ISA_AVX2 = 2, TT_ISA_AVX512 = 3 };

/* Status codes: what every function below returns that can fail. */
enum {
  TT_OK = 0,
  TT_INVALID = 1,         /* an argument outside of what is described here */
  TT_OUT_OF_MEMORY = 2,
  TT_UNSUPPORTED_ISA = 3  /* the instruction set asked for is not one of this processor, or unknown */
};

/* What is computed, the same for forward and backward of one call. */
typedef struct {
  uint32_t struct_size;     /* sizeof(tt_problem) */
  int32_t cell;             /* TT_RNN_TANH ... */
  int64_t batch;            /* B >= 0 */
  int64_t steps;            /* T >= 0 */
  int64_t features;         /* F >= 1 */
  int64_t units;            /* H >= 1 */
  int32_t reverse;          /* 0 or 1: process the container from its last step to its first */
  int32_t masked_output;    /* TT_MASKED_REPEATS or TT_MASKED_ZERO */
  int32_t leading_initial;  /* what "the last output" is before the first valid step: 0 zero, 1 the initial h */
  int32_t threads;          /* 0: as tt_threads says */
  int32_t isa;              /* TT_ISA_AUTO: THROUGHTIME_ISA (avx512, avx2, portable), or the best there is */
  int64_t keep_bytes;       /* activations of a forward pass with a ticket hold at most so many bytes; what is not kept
                               is computed again in the backward pass, whose results are the same to the bit. Where no
                               step may be computed more than 4 times again, some hold more. 0: as many as
                               tt_keep_at_most says */
} tt_problem;

/* What both directions read. */
typedef struct {
  uint32_t struct_size;           /* sizeof(tt_inputs) */
  const float *x;                 /* (B, T, F); features dense, the other strides below */
  int64_t x_batch_stride;         /* in floats; 0 stands for T*F */
  int64_t x_step_stride;          /* in floats; 0 stands for F */
  const uint8_t *mask;            /* (B, T), nonzero at valid steps; NULL: all valid */
  const float *h0;                /* (B, H); NULL: zeros */
  const float *c0;                /* (B, H), LSTM and LRU only; NULL: zeros */
  const float *kernel;            /* (F, G*H) */
  const float *recurrent_kernel;  /* (H, G*H); NULL for minGRU and minLSTM */
  const float *bias;              /* (G*H); NULL: none */
  const float *recurrent_bias;    /* (G*H), TT_GRU only, added to h times recurrent_kernel; NULL: none */
} tt_inputs;

/* What a forward pass writes. Every output is written whole, also where a sequence has no valid step. */
typedef struct {
  uint32_t struct_size; /* sizeof(tt_forward_outputs) */
  float *y;             /* (B, T, H): the output of each step; NULL: not wanted */
  float *last;          /* (B, H): the output of step T-1, were y asked for; NULL: not wanted */
  float *hn;            /* (B, H): h after the last valid step, h0 where there is none; NULL: not wanted */
  float *cn;            /* (B, H), LSTM and LRU only, likewise; NULL: not wanted */
  uint64_t *ticket;     /* NULL: inference. Otherwise activations are kept for one tt_backward, and this is their name */
} tt_forward_outputs;

/* What a backward pass reads besides tt_inputs: the gradients of the outputs, each NULL where it is zero. */
typedef struct {
  uint32_t struct_size; /* sizeof(tt_cotangents) */
  const float *dy;      /* (B, T, H) */
  const float *dlast;   /* (B, H) */
  const float *dhn;     /* (B, H) */
  const float *dcn;     /* (B, H), LSTM and LRU only */
  uint64_t ticket;      /* of the forward pass on the same problem and inputs; 0, or one that is gone: computed anew */
} tt_cotangents;

/* What a backward pass writes, each NULL where it is not wanted. Every output is written whole; nothing is added to. */
typedef struct {
  uint32_t struct_size;     /* sizeof(tt_gradients) */
  float *dx;                /* (B, T, F), dense; 0 at masked steps */
  float *dkernel;           /* (F, G*H) */
  float *drecurrent_kernel; /* (H, G*H); nothing is written for minGRU and minLSTM */
  float *dbias;             /* (G*H) */
  float *drecurrent_bias;   /* (G*H), TT_GRU only */
  float *dh0;               /* (B, H) */
  float *dc0;               /* (B, H), LSTM and LRU only */
  float *norms;             /* (B, T): the Euclidean norm over units of dL/dh_k at valid step k, all ways to the loss
                               together, of LRU that of dL/ds_k; 0 at masked steps */
  int32_t tap;              /* not 0: the norms are also left under this number, see tt_tap */
} tt_gradients;

/* Outputs, final states and, with `ticket`, what a backward pass needs. */
TT_API int32_t tt_forward(const tt_problem *problem, const tt_inputs *inputs, const tt_forward_outputs *outputs);

/* Gradients. Uses the ticket up: its activations are overwritten and given back. A ticket that was used, released or
 * evicted costs a second forward pass and changes no result. */
TT_API int32_t tt_backward(const tt_problem *problem, const tt_inputs *inputs, const tt_cotangents *cotangents,
                           const tt_gradients *gradients);

/* What the last backward pass with a tap left under its number, so that the norms of a training step that is compiled as
 * a whole can be read after it: tt_tap says how many passes there were since the tap was closed, 0 for none, and how large
 * the last one was; tt_read_tap copies its norms (batch, steps) and mask, or is TT_INVALID where another pass with another
 * size came in between; `mask` may be NULL. While a tap is shut, passes with it are as those without, and not counted:
 * their norms cost nothing. tt_close_tap forgets what was left and whether it was shut. */
TT_API uint64_t tt_tap(int32_t tap, int64_t *batch, int64_t *steps);
TT_API int32_t tt_read_tap(int32_t tap, int64_t batch, int64_t steps, float *norms, uint8_t *mask);
TT_API void tt_shut_tap(int32_t tap, int32_t shut);
TT_API void tt_close_tap(int32_t tap);

/* What the last tt_backward of this thread computed again, in the order in which each shard did: triples of the shard's
 * number and of the first and the end of a run of its steps. Writes at most `most` triples, and returns how many there
 * are. Steps are those of the schedule: of sequences of one length, all of which fit into one shard, those of time. */
TT_API int64_t tt_recomputed(int32_t *triples, int64_t most);

/* Gives back what a ticket holds. Unknown tickets, and 0, are ignored. */
TT_API void tt_release(uint64_t ticket);

/* Tickets that nobody uses are evicted, oldest first, once they hold more than `bytes` together; at least the newest is
 * kept. By default a quarter of the machine's memory. Returns the limit before; 0 only asks. */
TT_API uint64_t tt_keep_at_most(uint64_t bytes);

/* Bytes held by tickets (`kept`) and by memory that waits to be used again (`idle`); either pointer may be NULL. */
TT_API void tt_memory(uint64_t *kept, uint64_t *idle);

/* Gives back the memory that waits to be used again. */
TT_API void tt_trim(void);

/* G of a cell; 0 where there is no such cell. */
TT_API int32_t tt_gates(int32_t cell);

/* Frees nothing, allocates nothing; words for a status code. */
TT_API const char *tt_status_message(int32_t status);

/* TT_ABI_VERSION of the library that was loaded. */
TT_API int32_t tt_abi_version(void);

/* The best instruction set of this processor, THROUGHTIME_ISA obeyed; or a negative status. tt_isa_supported: 0 or 1. */
TT_API int32_t tt_isa(void);
TT_API int32_t tt_isa_supported(int32_t isa);

/* Threads that `threads` = 0 stands for: THROUGHTIME_THREADS; or the cores that this process may run on, but no more than
 * OMP_NUM_THREADS says, nor than the CPU quota of its control group (cgroup v1 or v2, under /sys/fs/cgroup or the folder
 * THROUGHTIME_CGROUP) keeps busy. */
TT_API int32_t tt_threads(void);

/* Fused multiply-adds of registers alone for about `seconds` on `threads` threads at once: GFLOP/s of all together, the
 * peak that the kernels are measured against. 0 where the instruction set is not supported. */
TT_API double tt_peak_gflops(int32_t isa, int32_t threads, double seconds);

#ifdef __cplusplus
}
#endif
#endif
