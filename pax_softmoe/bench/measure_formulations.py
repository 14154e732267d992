"""Times ways to write a Soft MoE layer on a CPU against a dense MLP.

    JAX_PLATFORMS=cpu python -m pax_softmoe.bench.measure_formulations

B=16 images of N=196 tokens, D=384, E=128 experts of one slot, H=1536, float32.
All compute the same; performance.md has results.
"""

import jax
from jax import numpy as jnp
import numpy as np
from pax_softmoe import routing
from pax_softmoe.bench import speed

B, N, D, E, H = 16, 196, 384, 128, 1536
ROUNDS = 11


def gelu(x):
  return jax.nn.gelu(x, approximate=True)


def dense(w, x):
  return gelu(x @ w['wi'][0] + w['bi'][0]) @ w['wo'][0] + w['bo'][0]


def experts(w, slots):
  """[E, C, D] through the experts."""
  hidden = jnp.einsum('ecd,edh->ech', slots, w['wi']) + w['bi'][:, None]
  return jnp.einsum('ech,ehd->ecd', gelu(hidden), w['wo']) + w['bo'][:, None]


def looped_experts(w, slots):
  """The same, one expert after the other."""

  def one(_, arrays):
    wi, bi, wo, bo, x = arrays
    return None, gelu(x @ wi + bi) @ wo + bo

  arrays = (w['wi'], w['bi'], w['wo'], w['bo'], slots)
  return jax.lax.scan(one, None, arrays)[1]


def as_in_the_layer(w, x, experts=experts):
  logits = routing.slot_logits(x, w['phi'], jnp.ones([]))
  slots = routing.mix_tokens(x, routing.dispatch_weights(logits))
  outputs = experts(w, slots.reshape(E, B, D)).reshape(slots.shape)
  return routing.mix_slots(outputs, routing.combine_weights(logits))


def loop_over_experts(w, x):
  return as_in_the_layer(w, x, looped_experts)


def flat_logits(w, x):
  """[B, N, S], all slots in one axis."""
  phi = routing.l2_normalize(w['phi'][..., 0], axis=0)
  return jnp.einsum('bnd,ds->bns', routing.l2_normalize(x, axis=-1), phi)


def transposed_experts(w, slots):
  """[B, S, D] through the experts, with both transposes written out."""
  return experts(w, slots.swapaxes(0, 1)).swapaxes(0, 1)


def explicit_transposes(w, x):
  logits = flat_logits(w, x)
  slots = jnp.einsum('bns,bnd->bsd', jax.nn.softmax(logits, axis=1), x)
  outputs = transposed_experts(w, slots)
  return jnp.einsum('bns,bsd->bnd', jax.nn.softmax(logits, axis=2), outputs)


def one_exponential(w, x):
  """Both softmaxes from one exp, whose maximum is that of the image."""
  logits = flat_logits(w, x)
  top = jax.lax.stop_gradient(logits.max(axis=(1, 2), keepdims=True))
  exp = jnp.exp(logits - top)
  slots = jnp.einsum('bns,bnd->bsd', exp / exp.sum(1, keepdims=True), x)
  outputs = transposed_experts(w, slots)
  return jnp.einsum('bns,bsd->bnd', exp / exp.sum(2, keepdims=True), outputs)


def normalized_after_products(w, x):
  """One exp, and divisions on [.., D] instead of [.., S] arrays."""
  logits = flat_logits(w, x)
  top = jax.lax.stop_gradient(logits.max(axis=(1, 2), keepdims=True))
  exp = jnp.exp(logits - top)
  slots = jnp.einsum('bns,bnd->bsd', exp, x) / exp.sum(1)[..., None]
  outputs = transposed_experts(w, slots)
  return jnp.einsum('bns,bsd->bnd', exp, outputs) / exp.sum(2)[..., None]


def experts_only(w, x):
  return experts(w, x[:, :E].swapaxes(0, 1))


def routing_only(w, x):
  return as_in_the_layer(w, x, lambda w, slots: slots)


SYSTEMS = (
    dense,
    as_in_the_layer,
    explicit_transposes,
    one_exponential,
    normalized_after_products,
    loop_over_experts,
    experts_only,
    routing_only,
)


def main() -> None:
  generator = np.random.default_rng(0)

  def draw(*shape):
    return jnp.asarray(0.02 * generator.standard_normal(shape, np.float32))

  w = {
      'phi': draw(D, E, 1),
      'wi': draw(E, D, H),
      'bi': draw(E, H),
      'wo': draw(E, H, D),
      'bo': draw(E, D),
  }
  # The dense MLP is one expert's, alone in memory.
  first = {k: v[:1] for k, v in w.items()}
  x = 50 * draw(B, N, D)

  def square(f):
    return lambda w, x: jnp.square(f(w, x)).sum()

  for title, wrap in (
      ('forward', jax.jit),
      ('forward + backward', lambda f: jax.jit(jax.grad(square(f), (0, 1)))),
  ):
    calls = {}
    for f in SYSTEMS:
      call, weights = wrap(f), first if f is dense else w
      calls[f.__name__] = lambda call=call, weights=weights: call(weights, x)
    seconds = speed.interleaved(calls, ROUNDS)
    for name, values in seconds.items():
      ratio = [s / d for s, d in zip(values, seconds['dense'])]
      ms = 1e3 * speed.spread(values)['median']
      found = speed.spread(ratio)
      print(
          f'{title:18}  {name:26} {ms:7.1f} ms  {found["median"]:.2f}'
          f' ({found["min"]:.2f} to {found["max"]:.2f})'
      )


if __name__ == '__main__':
  main()
