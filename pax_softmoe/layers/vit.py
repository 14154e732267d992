"""The vision transformer of the Soft MoE paper, dense or with MoE blocks.

Letters: B batch, N tokens, D model dims, H hidden dims.
"""

from collections.abc import Sequence
import itertools

from pax_softmoe.layers import attention
from pax_softmoe.layers import block_names
from pax_softmoe.layers import checks
from pax_softmoe.layers import feed_forward
from pax_softmoe.layers import initializers
from pax_softmoe.layers import stack
from praxis import base_layer
from praxis import pax_fiddle
from praxis import pytypes
from praxis.layers import vits

JTensor = pytypes.JTensor
LayerTpl = pax_fiddle.Config[base_layer.BaseLayer]
SplitDimsMapping = pytypes.SplitDimsMapping
WeightHParams = base_layer.WeightHParams
WeightInit = base_layer.WeightInit
template_field = base_layer.template_field


class PatchEmbedding(base_layer.BaseLayer):
  """Patches of an image as vectors: a convolution whose stride is its size.

  Attributes:
    patch_size: side of a patch in pixels.
    channels: of the image.
    model_dims: D.
  """

  patch_size: int = 0
  channels: int = 3
  model_dims: int = 0

  class WeightSharding(base_layer.BaseLayer.WeightSharding):
    """How weights are split over the mesh.

    Attributes:
      xd: of the kernel, pixels of a patch by model dims.
    """

    xd: SplitDimsMapping = None

  class ActivationSharding(base_layer.BaseLayer.ActivationSharding):
    """How activations are split over the mesh.

    Attributes:
      bnd: tokens.
    """

    bnd: SplitDimsMapping = None

  def setup(self) -> None:
    checks.common(self)
    checks.whole(self, 'patch_size', 'channels', 'model_dims')
    pixels = self.patch_size**2 * self.channels
    self.create_variable(
        'kernel',
        WeightHParams(
            shape=[pixels, self.model_dims],
            init=initializers.lecun_normal(pixels),
            mesh_shape=self.mesh_shape,
            tensor_split_dims_mapping=self.weight_split_dims_mapping.xd,
        ),
    )
    self.create_variable(
        'bias',
        WeightHParams(
            shape=[self.model_dims],
            init=WeightInit.Constant(0.0),
            mesh_shape=self.mesh_shape,
        ),
    )

  def __call__(self, images: JTensor) -> JTensor:
    """Embeds all patches, row by row.

    Args:
      images: [B, height, width, channels].

    Returns:
      [B, N, D].
    """
    patches = vits.image_to_patch(images, self.patch_size)
    tokens = patches @ self.theta.kernel + self.theta.bias
    split = self.activation_split_dims_mapping.bnd
    return base_layer.maybe_shard(tokens, split, self.mesh_axis_names)


class EncoderBlock(base_layer.BaseLayer):
  """A pre-norm transformer block: attention, then a feed-forward layer.

  Attributes:
    input_dims: D.
    hidden_dims: H.
    num_heads: attention heads.
    attention_tpl: self-attention.
    feed_forward_tpl: norm, feed-forward and residual in one layer.
  """

  input_dims: int = 0
  hidden_dims: int = 0
  num_heads: int = 0
  attention_tpl: LayerTpl = template_field(attention.SelfAttention)
  feed_forward_tpl: LayerTpl | None = None

  def setup(self) -> None:
    checks.common(self)
    self.create_child(
        'attention_norm',
        pax_fiddle.Config(feed_forward.LayerNorm, dim=self.input_dims),
    )
    self.create_child(
        'attention',
        self.attention_tpl.clone().set(
            input_dims=self.input_dims, num_heads=self.num_heads
        ),
    )
    self.create_child(
        'feed_forward',
        self.feed_forward_tpl.clone().set(
            input_dims=self.input_dims, hidden_dims=self.hidden_dims
        ),
    )

  def __call__(self, inputs: JTensor) -> JTensor:
    """Applies the block to [B, N, D]; returns the same shape."""
    x = inputs + self.attention(self.attention_norm(inputs))
    return self.feed_forward(x)


class VisionTransformer(base_layer.BaseLayer):
  """A ViT whose feed-forward layers may be mixtures of experts.

  Pre-norm, learned positions, no class token: the features of an image are the
  mean of its tokens after the last norm (paper, section 3; vmoe's
  `vit_moe.py` with `classifier='gap'`).

  Each run of equal blocks is one scanned stack, named for its first block: a
  model of 32 blocks with MoE in the last 16 holds `blocks_0` and `blocks_16`,
  and compiles like a model of two blocks.

  Attributes:
    image_size: side of the (square) images in pixels.
    patch_size: side of a patch in pixels; divides `image_size`.
    channels: of the images.
    model_dims: D.
    hidden_dims: H, of dense and expert MLPs alike.
    num_heads: attention heads.
    num_layers: blocks in all.
    moe_layers: indices of the blocks with `moe_tpl`, from 0.
    dense_tpl: the feed-forward layer of the other blocks.
    moe_tpl: the feed-forward layer of the MoE blocks.
    block_tpl: what both kinds of blocks share.
    patch_tpl: the patch embedding.
    remat: what to keep for the backward pass, a name of
      `remat_policies.POLICIES`.
    scan_layers: whether runs of equal blocks are scanned. If not, each block is
      a child of its own, `block_0` and so on.
  """

  image_size: int = 0
  patch_size: int = 0
  channels: int = 3
  model_dims: int = 0
  hidden_dims: int = 0
  num_heads: int = 0
  num_layers: int = 0
  moe_layers: Sequence[int] = ()
  dense_tpl: LayerTpl = template_field(feed_forward.DenseFeedForward)
  moe_tpl: LayerTpl = template_field(feed_forward.MoEFeedForward)
  block_tpl: LayerTpl = template_field(EncoderBlock)
  patch_tpl: LayerTpl = template_field(PatchEmbedding)
  remat: str = 'none'
  scan_layers: bool = True

  @property
  def num_tokens(self) -> int:
    return (self.image_size // self.patch_size) ** 2

  def setup(self) -> None:
    checks.common(self)
    checks.whole(
        self,
        'image_size',
        'patch_size',
        'channels',
        'model_dims',
        'hidden_dims',
        'num_heads',
        'num_layers',
    )
    checks.flag(self, 'scan_layers')
    if self.image_size % self.patch_size:
      raise ValueError(
          f'VisionTransformer: images of {self.image_size} pixels cannot be cut'
          f' into patches of {self.patch_size}; use a multiple'
      )
    beyond = [i for i in self.moe_layers if not 0 <= i < self.num_layers]
    if beyond:
      raise ValueError(
          f'VisionTransformer: there is no block {beyond[0]} to be MoE; blocks'
          f' are 0 to {self.num_layers - 1}'
      )
    self.create_child(
        'patch_embedding',
        self.patch_tpl.clone().set(
            patch_size=self.patch_size,
            channels=self.channels,
            model_dims=self.model_dims,
        ),
    )
    self.create_variable(
        'positions',
        WeightHParams(
            shape=[self.num_tokens, self.model_dims],
            init=WeightInit.Gaussian(0.02),
            mesh_shape=self.mesh_shape,
        ),
    )
    for name, tpl in self._stacks():
      self.create_child(name, tpl)
    self.create_child(
        'norm', pax_fiddle.Config(feed_forward.LayerNorm, dim=self.model_dims)
    )

  def _block(self, is_moe: bool) -> LayerTpl:
    return self.block_tpl.clone().set(
        input_dims=self.model_dims,
        hidden_dims=self.hidden_dims,
        num_heads=self.num_heads,
        feed_forward_tpl=self.moe_tpl if is_moe else self.dense_tpl,
    )

  def _stacks(self) -> list[tuple[str, LayerTpl]]:
    """Returns name and template of each stack of blocks, in order."""
    is_moe = [i in self.moe_layers for i in range(self.num_layers)]
    if not self.scan_layers:
      return [
          (block_names.single(i), self._block(moe))
          for i, moe in enumerate(is_moe)
      ]
    stacks = []
    for moe, run in itertools.groupby(
        range(self.num_layers), key=is_moe.__getitem__
    ):
      run = list(run)
      stacks.append((
          block_names.stack(run[0]),
          pax_fiddle.Config(
              stack.RepeatedBlocks,
              sub_tpl=self._block(moe),
              x_times=len(run),
              remat=self.remat,
          ),
      ))
    return stacks

  def __call__(self, images: JTensor) -> JTensor:
    """Returns the features of images.

    Args:
      images: [B, image_size, image_size, channels] of any real dtype.

    Returns:
      [B, D] in `fprop_dtype`, in which all is computed but what a layer says it
      computes in float32.

    Raises:
      ValueError: the images have another shape.
    """
    checks.array(
        self,
        'images',
        images,
        'BHWC',
        any_dtype=True,
        H=self.image_size,
        W=self.image_size,
        C=self.channels,
    )
    x = self.patch_embedding(images.astype(self.fprop_dtype))
    x = x + self.theta.positions
    for name, _ in self._stacks():
      block = getattr(self, name)
      x = block(x) if self.scan_layers else stack.rematted(block, self.remat, x)
    return self.norm(x).mean(axis=1)
