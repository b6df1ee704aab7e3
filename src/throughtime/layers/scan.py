"""h_t = a_t h_{t-1} + b_t for all steps at once, elementwise, on every backend: a parallel scan in plain Keras ops.

The steps are cut into chunks of ``RADIX``. A chunk as a whole is one such step, so the states at the ends of chunks are
the same problem with ``RADIX`` times fewer steps; from them all chunks are filled in side by side. That is about
2 ``RADIX`` log(T) / log(``RADIX``) operations on arrays in place of T, and some three multiplications a step and unit
(odd-even reduction where the radix is 2: Blelloch 1990, "Prefix Sums and Their Applications"; for recurrent networks
Martin and Cundy 2018, arXiv:1709.04057). Only products of the a_t are formed, never quotients, so it is as stable as
the recurrence. It is linear in T in time and memory.

The gradient is the same recurrence backwards, with the states computed anew: between the passes a, b and h_0 are kept
and nothing of the chunks. It is made of differentiable operations, so second derivatives are right as well. JAX has no
forward mode for it.

``keras.ops.associative_scan`` was measured and left: it also forms the products of all a_t, which nobody needs, and
took 1.2 to 8 times as long (``benchmarks/scan.py``). On PyTorch it makes float32 of float64 (Keras 3.15), under XLA on
TensorFlow it fails, and where TensorFlow does not know the number of steps it cannot be traced.

A number is a tuple: ``(real,)``, or ``(real, imaginary)``, because not every backend differentiates complex arrays.
"""

from __future__ import annotations

from typing import Any

from keras import ops

# Of 2, 4, 8, 16 and 32 none is much better on all three backends; 4 is a fifth better on JAX, 32 compiles for long
# and is several times slower there (benchmarks/scan.py, on 2 cores).
RADIX = 8
# Where TensorFlow does not know T: cut into chunks twice, then a loop over powers of two on what is left, T / 64.
DEPTH = 2

Number = tuple[Any, ...]


def scan(a: Number, b: Number, h0: Number) -> Number:
    """All states of h_t = a_t h_{t-1} + b_t, from h_0 on.

    Args:
        a: factors, (B, T, H), real, or real and imaginary parts; axes of size 1 stand for all.
        b: what is added, (B, T, H), of as many parts.
        h0: the state before the first step, (B, H).

    Returns:
        The states after each step, (B, T, H), of as many parts, in the dtype of the arguments.

    Example:
        >>> one = ops.ones((1, 4, 1))
        >>> [float(h) for h in scan((0.5 * one,), (one,), (8 * one[:, 0],))[0][0, :, 0]]
        [5.0, 3.5, 2.75, 2.375]
    """
    parts = len(b)
    # On PyTorch a function with a gradient of its own returns one array.
    h = _differentiable(*a, *b, *h0)
    return tuple(ops.split(h, parts, axis=-1)) if parts > 1 else (h,)


@ops.custom_gradient
def _differentiable(*arrays: Any) -> tuple[Any, Any]:
    a, b, h0 = _thirds(arrays)

    def gradient(*given: Any, upstream: Any = None) -> tuple[Any, ...]:
        # PyTorch gives the arguments once more, and the gradient by name; the others the gradient alone.
        dh = given[0] if upstream is None else upstream
        dh = tuple(ops.split(dh, len(b), axis=-1)) if len(b) > 1 else (dh,)
        # By the function itself, not by _states: so the gradient of this gradient sees how h depends on a and b.
        h = scan(a, b, h0)
        before = tuple(_joined(first, after) for first, after in zip(h0, h, strict=True))
        # db_t = dh_t + conj(a_{t+1}) db_{t+1}, in the order of processing from the end; nothing comes from after it.
        following = tuple(
            one if one.shape[1] == 1 else ops.flip(ops.concatenate([one[:, 1:], ops.zeros_like(one[:, :1])], 1), 1)
            for one in a
        )
        zeros = tuple(ops.zeros_like(one) for one in h0)
        db = scan(_conjugate(following), tuple(ops.flip(one, 1) for one in dh), zeros)
        db = tuple(ops.flip(one, 1) for one in db)
        da = _times(_conjugate(before), db)
        dh0 = _times(_conjugate(tuple(one[:, 0] for one in a)), tuple(one[:, 0] for one in db))
        return tuple(_summed(one, like) for one, like in zip((*da, *db, *dh0), (*a, *b, *h0), strict=True))

    first = _plus(_times(tuple(one[:, 0] for one in a), h0), tuple(one[:, 0] for one in b))
    b_with_h0 = tuple(ops.concatenate([one[:, None], rest[:, 1:]], 1) for one, rest in zip(first, b, strict=True))
    h = _states(a, b_with_h0)
    return (ops.concatenate(h, -1) if len(h) > 1 else h[0]), gradient


def _states(a: Number, b: Number, depth: int = 0) -> Number:
    """The states from h_0 = 0 on."""
    steps = b[0].shape[1]
    if steps is not None and steps <= RADIX:
        h = tuple(one[:, 0] for one in b)
        found = [h]
        for t in range(1, steps):
            factor = tuple(one[:, t if one.shape[1] > 1 else 0] for one in a)
            h = _plus(_times(factor, h), tuple(one[:, t] for one in b))
            found.append(h)
        return tuple(ops.stack(one, 1) for one in zip(*found, strict=True))
    if steps is None and depth == DEPTH:
        return _by_doubling(a, b)
    chunks = -(-(ops.shape(b[0])[1] if steps is None else steps) // RADIX)
    # The places in a chunk, (B, chunks, H) each.
    a_at, b_at = ([tuple(one) for one in zip(*(_chunked(part, steps) for part in x), strict=True)] for x in (a, b))
    factor, added = a_at[0], b_at[0]
    for place in range(1, RADIX):
        added = _plus(_times(a_at[place], added), b_at[place])
        factor = _times(a_at[place], factor)
    ends = _states(factor, added, depth + 1)
    h = tuple(ops.concatenate([ops.zeros_like(one[:, :1]), one[:, :-1]], 1) for one in ends)
    found = []
    for place in range(RADIX - 1):
        h = _plus(_times(a_at[place], h), b_at[place])
        found.append(h)
    found.append(ends)
    count = -1 if steps is None else chunks * RADIX
    filled = (
        ops.reshape(ops.stack(one, 2), (ops.shape(one[0])[0], count, one[0].shape[-1]))
        for one in zip(*found, strict=True)
    )
    return tuple(one[:, : ops.shape(b[0])[1]] for one in filled)


def _chunked(one: Any, steps: int | None) -> list[Any]:
    """The places 0, 1, ... of all chunks. What the last chunk lacks is zero, and comes after all that counts."""
    if one.shape[1] == 1:  # the same at all steps
        return [one] * RADIX
    missing = RADIX - 1 if steps is None else -steps % RADIX
    padded = ops.pad(one, [[0, 0], [0, missing], [0, 0]]) if missing else one
    if steps is None:
        padded = padded[:, : ops.shape(padded)[1] // RADIX * RADIX]
    rows, _, units = ops.shape(padded)
    padded = ops.reshape(padded, (rows, -1 if steps is None else (steps + missing) // RADIX, RADIX, units))
    return [padded[:, :, place] for place in range(RADIX)]


def _by_doubling(a: Number, b: Number) -> Number:
    """In a loop of log2(T) rounds, of which round k reaches 2^k steps further back (Hillis and Steele 1986).

    By gathering and not by slices: XLA knows T, but not how far a round reaches.
    """
    a = tuple(ops.broadcast_to(one, ops.shape(like)) for one, like in zip(a, b, strict=True))
    steps = ops.shape(b[0])[1]
    places = ops.arange(steps, dtype="int32")
    parts = len(a)

    def further(reach: Any, *arrays: Any) -> tuple[Any, ...]:
        a, b = arrays[:parts], arrays[parts:]
        earlier, there = ops.maximum(places - reach, 0), (places >= reach)[None, :, None]
        a_then = tuple(
            ops.where(there, ops.take(one, earlier, axis=1), ops.cast(number == 0, one.dtype))  # 1, or 1 + 0i
            for number, one in enumerate(a)
        )
        b_then = tuple(ops.where(there, ops.take(one, earlier, axis=1), ops.zeros_like(one)) for one in b)
        return 2 * reach, *_times(a, a_then), *_plus(_times(a, b_then), b)

    found = ops.while_loop(lambda reach, *_: reach < steps, further, (ops.ones((), "int32"), *a, *b))
    return tuple(found[1 + parts :])


# Numbers of one part or two -------------------------------------------------------------------------------------------


def _times(x: Number, y: Number) -> Number:
    if len(x) == 1:
        return (x[0] * y[0],)
    return x[0] * y[0] - x[1] * y[1], x[0] * y[1] + x[1] * y[0]


def _plus(x: Number, y: Number) -> Number:
    return tuple(one + other for one, other in zip(x, y, strict=True))


def _conjugate(x: Number) -> Number:
    """What a gradient is multiplied by where the value was multiplied by x."""
    return x if len(x) == 1 else (x[0], -x[1])


def _thirds(arrays: tuple[Any, ...]) -> tuple[Number, Number, Number]:
    count = len(arrays) // 3
    return arrays[:count], arrays[count : 2 * count], arrays[2 * count :]


def _joined(first: Any, after: Any) -> Any:
    """The states before each step: the first one, (B, H), and all of (B, T, H) but the last."""
    return ops.concatenate([ops.broadcast_to(first, ops.shape(after[:, 0]))[:, None], after[:, :-1]], 1)


def _summed(gradient: Any, like: Any) -> Any:
    """A gradient by what was broadcast: the sum over axes of which it has one entry."""
    axes = [axis for axis, size in enumerate(like.shape) if size == 1 and gradient.shape[axis] != 1]
    return ops.sum(gradient, axis=axes, keepdims=True) if axes else gradient
