"""The mathematics of Soft MoE as pure functions on arrays.

Soft MoE ("From Sparse to Soft Mixtures of Experts", ICLR 2024, section 2.1 and
algorithms 1 and 2) sends every token, in part, to every expert. With X the
tokens of one sequence and Phi one learned vector per slot,

    Z = norm(X) @ (scale * norm(Phi))        scores of every token and slot
    D = softmax of Z over the tokens         dispatch weights: what a slot reads
    C = softmax of Z over all slots          combine weights: what a token reads
    slots = D^T X;  Y = C expert(slots)

Letters, used in all names of shapes:
  B batch, N tokens, D model dims, E experts, P slots per expert.

No function here knows of meshes, Praxis or parameters.
"""

import jax
from jax import numpy as jnp
import numpy as np

JTensor = jax.Array

# The epsilon of the official code, which adds it under the square root
# (algorithm 2 of the paper adds it to the norm). Vectors of zeros are safe.
_NORM_EPSILON = 1e-6

_REAL = jnp.floating, jnp.integer, jnp.bool_


def padding_mask(
    paddings: JTensor, shape: tuple[int, ...], owner: str = 'routing'
) -> JTensor:
  """Returns which tokens are padded.

  Args:
    paddings: of any real dtype, above 0 for a padded token.
    shape: which they must have, [B, N].
    owner: whom an error names.

  Returns:
    [B, N] bool.

  Raises:
    ValueError: they have another shape, or are no real numbers.
  """
  given = paddings if hasattr(paddings, 'dtype') else np.asarray(paddings)
  # Whether complex numbers and texts are above 0, nobody can say.
  if not any(jnp.issubdtype(given.dtype, kind) for kind in _REAL):
    raise ValueError(
        f'{owner}: paddings are {given.dtype}; they must be real numbers, 1'
        ' for a padded token'
    )
  paddings = jnp.asarray(given)
  if paddings.shape != tuple(shape):
    raise ValueError(
        f'{owner}: paddings are {list(paddings.shape)}; they must have one'
        f' number for each token, {list(shape)}'
    )
  return paddings > 0


def l2_normalize(x: JTensor, axis: int) -> JTensor:
  """Returns `x / sqrt(sum(x^2) + 1e-6)`, the sum taken over `axis`."""
  squares = jnp.sum(jnp.square(x), axis=axis, keepdims=True)
  return x * jax.lax.rsqrt(squares + _NORM_EPSILON)


def slot_logits(
    inputs: JTensor, phi: JTensor, scale: JTensor, *, normalize: bool = True
) -> JTensor:
  """Returns the score of every token for every slot (algorithm 2).

  Args:
    inputs: [B, N, D] tokens, in the dtype that the scores shall have.
    phi: [D, E, P] one vector per slot.
    scale: [] factor of the scores; at 1 they lie between -1 and 1 when
      normalized.
    normalize: whether tokens and slot vectors are brought to unit length
      first. Without it these are the plain products of equations 1 and 2,
      which the paper shows to fail for wide models (appendix E).

  Returns:
    [B, N, E, P] in the dtype of `inputs`.
  """
  if normalize:
    inputs = l2_normalize(inputs, axis=-1)
    phi = l2_normalize(phi, axis=0)
  return jnp.einsum('bnd,dep->bnep', inputs, scale * phi)


def dispatch_weights(
    logits: JTensor, paddings: JTensor | None = None
) -> JTensor:
  """Returns each slot's weights over the tokens (equation 1).

  Args:
    logits: [B, N, E, P] token-slot scores.
    paddings: [B, N], 1 for a padded token, or None for none.

  Returns:
    [B, N, E, P]; sums to one over N for every slot. Padded tokens have weight
    zero; a sequence of nothing but padding has only zeros.
  """
  if paddings is None:
    return jax.nn.softmax(logits, axis=1)
  padded = padding_mask(paddings, logits.shape[:2])[..., None, None]
  # A finite lowest score, so that a fully padded sequence gives no NaN.
  lowest = jnp.finfo(logits.dtype).min
  weights = jax.nn.softmax(jnp.where(padded, lowest, logits), axis=1)
  return jnp.where(padded, 0, weights)


def combine_weights(
    logits: JTensor, paddings: JTensor | None = None
) -> JTensor:
  """Returns each token's weights over all slots of all experts (equation 2).

  Args:
    logits: [B, N, E, P] token-slot scores.
    paddings: [B, N], 1 for a padded token, or None for none.

  Returns:
    [B, N, E, P]; sums to one over E and P jointly for every token. The rows of
    padded tokens are zero.
  """
  if paddings is None:
    return jax.nn.softmax(logits, axis=(2, 3))
  padded = padding_mask(paddings, logits.shape[:2])[..., None, None]
  # Twice, since a NaN that is only cut off afterwards has a gradient of NaN.
  weights = jax.nn.softmax(jnp.where(padded, 0, logits), axis=(2, 3))
  return jnp.where(padded, 0, weights)


def uniform_dispatch_weights(
    logits: JTensor, paddings: JTensor | None = None
) -> JTensor:
  """Returns dispatch weights that average the tokens (appendix A, "Uniform").

  Args:
    logits: [B, N, E, P]; only shape and dtype are read.
    paddings: [B, N], 1 for a padded token, or None for none.

  Returns:
    [B, N, E, P], 1/N everywhere (1 / unpadded tokens, where there are some).
  """
  return dispatch_weights(jnp.zeros_like(logits), paddings)


def uniform_combine_weights(
    logits: JTensor, paddings: JTensor | None = None
) -> JTensor:
  """Returns combine weights of 1/(E*P) (appendix A, "Uniform").

  Args:
    logits: [B, N, E, P]; only shape and dtype are read.
    paddings: [B, N], 1 for a padded token, or None for none.

  Returns:
    [B, N, E, P], the rows of padded tokens zero.
  """
  return combine_weights(jnp.zeros_like(logits), paddings)


def mix_tokens(inputs: JTensor, dispatch: JTensor) -> JTensor:
  """Returns the inputs of all slots: mixtures of the raw tokens.

  Args:
    inputs: [B, N, D] tokens, not normalized.
    dispatch: [B, N, E, P].

  Returns:
    [E, B, P, D], experts first: the layout in which experts run.
  """
  return jnp.einsum('bnd,bnep->ebpd', inputs, dispatch)


def mix_slots(outputs: JTensor, combine: JTensor) -> JTensor:
  """Returns the tokens: mixtures of the outputs of all slots.

  Args:
    outputs: [E, B, P, D] what the experts made of their slots.
    combine: [B, N, E, P].

  Returns:
    [B, N, D].
  """
  return jnp.einsum('ebpd,bnep->bnd', outputs, combine)
