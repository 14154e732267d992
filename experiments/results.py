"""Results that are published of an experiment."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Paper:
  """Results of the Soft MoE paper, in percent; None where it has none.

  Attributes:
    jft: precision at 1 on JFT-4B.
    fewshot: accuracy on ImageNet from 10 images of each class.
    finetuned: accuracy on ImageNet after fine-tuning.
    table: of the paper.
    days: that training took, of one TPU v3 core.
  """

  jft: float | None = None
  fewshot: float | None = None
  finetuned: float | None = None
  table: int = 0
  days: float | None = None

  def by_label(self) -> dict[str, float]:
    """Returns the numbers that there are, each with what it is."""
    labels = {
        'JFT-4B precision at 1': self.jft,
        'ImageNet 10-shot': self.fewshot,
        'ImageNet fine-tuned': self.finetuned,
    }
    return {k: v for k, v in labels.items() if v is not None}
