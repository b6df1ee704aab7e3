/* XLA's way to the kernels: three FFI handlers for the CPU, called by kernels/jax.py.
 *
 *   tt_xla_infer     inputs -> last, y, hn, cn
 *   tt_xla_forward   inputs -> last, y, hn, cn, ticket (uint32[2], since JAX has no uint64 by default)
 *   tt_xla_backward  inputs, ticket, dlast, dy, dhn, dcn -> dx, dh0, dc0, dkernel, drecurrent_kernel, dbias
 *
 * "inputs" is x, mask (pred), h0, c0, kernel, recurrent_kernel, bias; the bias of TT_GRU is (2, 3H), its second row the
 * recurrent bias. An array that is not there, or not wanted, is one of shape (0); everything else has its full shape,
 * also where a size is 0. The attributes are cell, reverse, masked_output and leading_initial (int32), and keep_bytes
 * (int64); of the backward pass also tap (int32).
 *
 * C, and the plain C header of API 0.1: what is built with the C++ binding that jaxlib ships runs only on that jaxlib
 * and newer ones, and g++ refuses the header (members named as their types). XLA's structs only grow at their ends.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "third_party/xla/ffi/api/c_api.h"
#include "throughtime.h"

enum { INPUTS = 7, OUTPUTS = 4, GRADIENTS = 6 };

typedef struct {
  int rank;
  int64_t dims[3];
} shape_t;

/* One call of a handler, and the first thing that is wrong with it. */
typedef struct {
  const XLA_FFI_CallFrame *frame;
  XLA_FFI_Error_Code code;
  char message[320];
} call_t;

/* What both directions are given. */
typedef struct {
  tt_problem problem;
  tt_inputs inputs;
  shape_t x, sequences, last, state, kernel, recurrent_kernel, bias;
} given_t;

static bool ok(const call_t *call) { return call->code == XLA_FFI_Error_Code_OK; }

__attribute__((format(printf, 3, 4))) static void fail(call_t *call, XLA_FFI_Error_Code code, const char *format, ...) {
  if (!ok(call)) return;
  call->code = code;
  va_list values;
  va_start(values, format);
  vsnprintf(call->message, sizeof call->message, format, values);
  va_end(values);
}

static XLA_FFI_Error *finished(call_t *call) {
  if (ok(call)) return NULL;
  XLA_FFI_Error_Create_Args arguments = {XLA_FFI_Error_Create_Args_STRUCT_SIZE, NULL, call->message, call->code};
  return call->frame->api->XLA_FFI_Error_Create(&arguments);
}

static void expect_status(call_t *call, int32_t status) {
  if (status == TT_OK) return;
  XLA_FFI_Error_Code code = XLA_FFI_Error_Code_INVALID_ARGUMENT;
  if (status == TT_OUT_OF_MEMORY) code = XLA_FFI_Error_Code_RESOURCE_EXHAUSTED;
  if (status == TT_UNSUPPORTED_ISA) code = XLA_FFI_Error_Code_FAILED_PRECONDITION;
  fail(call, code, "throughtime: %s", tt_status_message(status));
}

static void expect_counts(call_t *call, int64_t arguments, int64_t results) {
  const XLA_FFI_CallFrame *frame = call->frame;
  if (frame->stage != XLA_FFI_ExecutionStage_EXECUTE)
    fail(call, XLA_FFI_Error_Code_INVALID_ARGUMENT, "throughtime: called in stage %d of XLA, not to execute",
         (int)frame->stage);
  else if (frame->args.size != arguments || frame->rets.size != results)
    fail(call, XLA_FFI_Error_Code_INVALID_ARGUMENT,
         "throughtime: %lld arguments and %lld results are given, %lld and %lld accepted", (long long)frame->args.size,
         (long long)frame->rets.size, (long long)arguments, (long long)results);
}

static void read_attribute(call_t *call, const char *name, XLA_FFI_DataType dtype, void *value, size_t size) {
  const XLA_FFI_Attrs *attributes = &call->frame->attrs;
  for (int64_t i = 0; i < attributes->size; ++i) {
    const XLA_FFI_ByteSpan *given = attributes->names[i];
    if (given->len != strlen(name) || memcmp(given->ptr, name, given->len) != 0) continue;
    if (attributes->types[i] != XLA_FFI_AttrType_SCALAR) break;
    const XLA_FFI_Scalar *scalar = attributes->attrs[i];
    if (scalar->dtype != dtype) break;
    memcpy(value, scalar->value, size);
    return;
  }
  fail(call, XLA_FFI_Error_Code_INVALID_ARGUMENT, "throughtime: the attribute '%s' is needed, an int%d", name,
       (int)(8 * size));
}

static int32_t attribute(call_t *call, const char *name) {
  int32_t value = 0;
  read_attribute(call, name, XLA_FFI_DataType_S32, &value, sizeof value);
  return value;
}

/* The sizes of an argument, as they are given; all 0 where it has not that many axes. */
static shape_t shape_of(call_t *call, int64_t index, const char *name, int rank) {
  shape_t shape = {rank, {0, 0, 0}};
  if (!ok(call)) return shape;
  const XLA_FFI_Buffer *buffer = call->frame->args.args[index];
  if (buffer->rank == rank)
    memcpy(shape.dims, buffer->dims, (size_t)rank * sizeof *shape.dims);
  else
    fail(call, XLA_FFI_Error_Code_INVALID_ARGUMENT, "throughtime: '%s' has %lld axes, %d are accepted", name,
         (long long)buffer->rank, rank);
  return shape;
}

static void write_shape(char *text, size_t size, int64_t rank, const int64_t *dims) {
  size_t at = 0;
  for (int64_t axis = 0; axis < rank && at < size; ++axis)
    at += (size_t)snprintf(text + at, size - at, "%s%lld", axis > 0 ? ", " : "", (long long)dims[axis]);
}

static bool is_absent(const XLA_FFI_Buffer *buffer) { return buffer->rank == 1 && buffer->dims[0] == 0; }

/* Where a buffer lies, checked first. */
static void *address(call_t *call, const XLA_FFI_Buffer *buffer, const char *name, XLA_FFI_DataType dtype,
                     const shape_t *shape) {
  bool same = buffer->dtype == dtype && buffer->rank == shape->rank;
  bool empty = false;
  for (int axis = 0; same && axis < shape->rank; ++axis) {
    same = buffer->dims[axis] == shape->dims[axis];
    empty = empty || shape->dims[axis] == 0;
  }
  if (!same) {
    char given[96] = "", accepted[96] = "";
    write_shape(given, sizeof given, buffer->rank, buffer->dims);
    write_shape(accepted, sizeof accepted, shape->rank, shape->dims);
    fail(call, XLA_FFI_Error_Code_INVALID_ARGUMENT,
         "throughtime: '%s' is of XLA's type %d and shape (%s); type %d and shape (%s) are accepted", name,
         (int)buffer->dtype, given, (int)dtype, accepted);
    return NULL;
  }
  /* XLA may give no address to what has no elements; to the kernels NULL means "not there", which is something else. */
  static float nothing[1];
  return empty ? nothing : buffer->data;
}

static const void *needed(call_t *call, int64_t index, const char *name, XLA_FFI_DataType dtype, const shape_t *shape) {
  return ok(call) ? address(call, call->frame->args.args[index], name, dtype, shape) : NULL;
}

static const void *optional(call_t *call, int64_t index, const char *name, XLA_FFI_DataType dtype,
                            const shape_t *shape) {
  return ok(call) && !is_absent(call->frame->args.args[index]) ? needed(call, index, name, dtype, shape) : NULL;
}

static float *result(call_t *call, int64_t index, const char *name, const shape_t *shape) {
  if (!ok(call) || is_absent(call->frame->rets.rets[index])) return NULL;
  return address(call, call->frame->rets.rets[index], name, XLA_FFI_DataType_F32, shape);
}

static given_t read_inputs(call_t *call) {
  given_t given;
  memset(&given, 0, sizeof given);
  tt_problem *problem = &given.problem;
  problem->struct_size = sizeof *problem;
  problem->cell = attribute(call, "cell");
  problem->reverse = attribute(call, "reverse");
  problem->masked_output = attribute(call, "masked_output");
  problem->leading_initial = attribute(call, "leading_initial");
  read_attribute(call, "keep_bytes", XLA_FFI_DataType_S64, &problem->keep_bytes, sizeof problem->keep_bytes);

  given.x = shape_of(call, 0, "x", 3);
  const int64_t batch = given.x.dims[0], steps = given.x.dims[1], features = given.x.dims[2];
  const int64_t units = shape_of(call, 5, "recurrent_kernel", 2).dims[0];
  problem->batch = batch;
  problem->steps = steps;
  problem->features = features;
  problem->units = units;

  const int64_t wide = tt_gates(problem->cell) * units;
  const int64_t shown = problem->cell == TT_LRU ? 2 * units : units;
  given.sequences = (shape_t){3, {batch, steps, shown}};
  given.last = (shape_t){2, {batch, shown, 0}};
  given.state = (shape_t){2, {batch, units, 0}};
  given.kernel = (shape_t){2, {features, wide, 0}};
  const int64_t recurrent = problem->cell == TT_LRU ? 2 : problem->cell >= TT_MIN_GRU ? 0 : wide;
  given.recurrent_kernel = (shape_t){2, {units, recurrent, 0}};
  given.bias = problem->cell == TT_GRU ? (shape_t){2, {2, wide, 0}} : (shape_t){1, {wide, 0, 0}};
  const shape_t mask = {2, {batch, steps, 0}};

  tt_inputs *inputs = &given.inputs;
  inputs->struct_size = sizeof *inputs;
  inputs->x = needed(call, 0, "x", XLA_FFI_DataType_F32, &given.x);
  inputs->mask = optional(call, 1, "mask", XLA_FFI_DataType_PRED, &mask);
  inputs->h0 = optional(call, 2, "h0", XLA_FFI_DataType_F32, &given.state);
  inputs->c0 = optional(call, 3, "c0", XLA_FFI_DataType_F32, &given.state);
  inputs->kernel = needed(call, 4, "kernel", XLA_FFI_DataType_F32, &given.kernel);
  inputs->recurrent_kernel = needed(call, 5, "recurrent_kernel", XLA_FFI_DataType_F32, &given.recurrent_kernel);
  inputs->bias = optional(call, 6, "bias", XLA_FFI_DataType_F32, &given.bias);
  if (inputs->bias != NULL && problem->cell == TT_GRU) inputs->recurrent_bias = inputs->bias + wide;
  return given;
}

/* XLA asks a handler, when it is registered, which version of the API it was written for: answered as jaxlib's own C++
 * binding does. Only this request comes with the extension. */
static bool answered_metadata(const XLA_FFI_CallFrame *frame) {
  for (XLA_FFI_Extension_Base *extension = frame->extension_start; extension != NULL; extension = extension->next) {
    if (extension->type != XLA_FFI_Extension_Metadata) continue;
    XLA_FFI_Metadata *metadata = ((XLA_FFI_Metadata_Extension *)extension)->metadata;
    metadata->api_version =
        (XLA_FFI_Api_Version){XLA_FFI_Api_Version_STRUCT_SIZE, NULL, XLA_FFI_API_MAJOR, XLA_FFI_API_MINOR};
    metadata->traits = 0;
    return true;
  }
  return false;
}

static XLA_FFI_Error *forward(XLA_FFI_CallFrame *frame, bool keep) {
  if (answered_metadata(frame)) return NULL;
  call_t call = {frame, XLA_FFI_Error_Code_OK, ""};
  expect_counts(&call, INPUTS, OUTPUTS + keep);
  const given_t given = read_inputs(&call);

  uint64_t ticket = 0;
  const shape_t two = {1, {2, 0, 0}};
  void *kept = NULL;
  if (keep && ok(&call)) kept = address(&call, frame->rets.rets[OUTPUTS], "ticket", XLA_FFI_DataType_U32, &two);
  const tt_forward_outputs outputs = {
      .struct_size = sizeof outputs,
      .last = result(&call, 0, "last", &given.last),
      .y = result(&call, 1, "y", &given.sequences),
      .hn = result(&call, 2, "hn", &given.state),
      .cn = result(&call, 3, "cn", &given.state),
      .ticket = keep ? &ticket : NULL,
  };
  if (ok(&call)) expect_status(&call, tt_forward(&given.problem, &given.inputs, &outputs));
  if (ok(&call) && keep) memcpy(kept, &ticket, sizeof ticket);
  return finished(&call);
}

TT_API XLA_FFI_Error *tt_xla_infer(XLA_FFI_CallFrame *frame) { return forward(frame, false); }

TT_API XLA_FFI_Error *tt_xla_forward(XLA_FFI_CallFrame *frame) { return forward(frame, true); }

TT_API XLA_FFI_Error *tt_xla_backward(XLA_FFI_CallFrame *frame) {
  if (answered_metadata(frame)) return NULL;
  call_t call = {frame, XLA_FFI_Error_Code_OK, ""};
  expect_counts(&call, INPUTS + 1 + OUTPUTS, GRADIENTS);
  const given_t given = read_inputs(&call);

  const shape_t two = {1, {2, 0, 0}};
  const void *kept = needed(&call, INPUTS, "ticket", XLA_FFI_DataType_U32, &two);
  tt_cotangents cotangents = {
      .struct_size = sizeof cotangents,
      .dlast = optional(&call, INPUTS + 1, "dlast", XLA_FFI_DataType_F32, &given.last),
      .dy = optional(&call, INPUTS + 2, "dy", XLA_FFI_DataType_F32, &given.sequences),
      .dhn = optional(&call, INPUTS + 3, "dhn", XLA_FFI_DataType_F32, &given.state),
      .dcn = optional(&call, INPUTS + 4, "dcn", XLA_FFI_DataType_F32, &given.state),
  };
  if (ok(&call)) memcpy(&cotangents.ticket, kept, sizeof cotangents.ticket);
  tt_gradients gradients = {
      .struct_size = sizeof gradients,
      .dx = result(&call, 0, "dx", &given.x),
      .dh0 = result(&call, 1, "dh0", &given.state),
      .dc0 = result(&call, 2, "dc0", &given.state),
      .dkernel = result(&call, 3, "dkernel", &given.kernel),
      .drecurrent_kernel = result(&call, 4, "drecurrent_kernel", &given.recurrent_kernel),
      .dbias = result(&call, 5, "dbias", &given.bias),
      .tap = attribute(&call, "tap"),
  };
  if (gradients.dbias != NULL && given.problem.cell == TT_GRU)
    gradients.drecurrent_bias = gradients.dbias + given.bias.dims[1];
  if (ok(&call)) expect_status(&call, tt_backward(&given.problem, &given.inputs, &cotangents, &gradients));
  return finished(&call);
}
