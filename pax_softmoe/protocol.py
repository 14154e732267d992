"""What the rooms below `experiments` ask of an experiment."""

from collections.abc import Sequence
from typing import Any
from typing import Protocol


class Experiment(Protocol):
  """An experiment, as `experiments.base.ImageClassification` is one.

  Its settings are attributes; see `experiments.declared` for what they mean.
  """

  IMAGE_SIZE: int
  CHANNELS: int
  NUM_CLASSES: int
  LOSS: str
  PATCH_SIZE: int
  MODEL_DIMS: int
  HIDDEN_DIMS: int
  NUM_HEADS: int
  NUM_LAYERS: int
  TRAIN_BATCH_SIZE: int
  EVAL_BATCH_SIZE: int
  DCN_MESH_SHAPE: Sequence[int] | None
  COMPUTE_DTYPE: Any
  FIRST_MOMENT_DTYPE: Any
  REMAT: str
  EXCHANGE_PARTS: int
  SCAN_LAYERS: bool

  @classmethod
  def with_settings(cls, /, **changes: Any) -> type:
    """Returns this experiment with some settings changed."""
    ...

  def num_moe_layers(self) -> int:
    """Returns the number of blocks with experts."""
    ...

  def num_experts(self) -> int:
    """Returns the experts of each MoE layer; 1 for a dense model."""
    ...

  def group_size(self) -> int:
    """Returns how many images compete for the experts' slots; 1 for none."""
    ...

  def moe_tpl(self) -> Any:
    """Returns the template of the mixture, or None for a dense model."""
    ...

  def model(self) -> Any:
    """Returns the template of the model, without its place on a mesh."""
    ...

  def placed_model(self) -> Any:
    """Returns the template of the model with its place on the mesh."""
    ...

  def task(self) -> Any:
    """Returns the template of Pax' task."""
    ...

  def sharding_rules(self) -> Any:
    """Returns the `axis_rules.ShardingRules` of its arrays."""
    ...

  def ici_mesh_shape(self) -> tuple[int, ...]:
    """Returns the mesh of one slice, (replica, data, expert, mdl)."""
    ...

  def mesh_shape(self) -> tuple[int, ...]:
    """Returns the mesh over all slices."""
    ...

  def source(self) -> Any:
    """Returns the images and labels; None while there are none."""
    ...

  def eval_ops(self) -> Sequence[Any]:
    """Returns what is done to each image in evaluation, in order."""
    ...

  def eval_input(self, split: str | None = None) -> Any:
    """Returns the images of an evaluation split; by default the first."""
    ...

  def get_input_specs_provider_params(self) -> Any:
    """Returns the template of what tells the shapes of a batch."""
    ...
