"""Sizes of vision transformers (paper, section 3; FLOPs grow down the table).

| size | model dims | hidden dims | heads | layers |
|------|------------|-------------|-------|--------|
| S    | 384        | 1536        | 6     | 12     |
| B    | 768        | 3072        | 12    | 12     |
| L    | 1024       | 4096        | 16    | 24     |
| H    | 1280       | 5120        | 16    | 32     |
"""


class S:
  MODEL_DIMS = 384
  HIDDEN_DIMS = 1536
  NUM_HEADS = 6
  NUM_LAYERS = 12


class B:
  MODEL_DIMS = 768
  HIDDEN_DIMS = 3072
  NUM_HEADS = 12
  NUM_LAYERS = 12


class L:
  MODEL_DIMS = 1024
  HIDDEN_DIMS = 4096
  NUM_HEADS = 16
  NUM_LAYERS = 24


class H:
  MODEL_DIMS = 1280
  HIDDEN_DIMS = 5120
  NUM_HEADS = 16
  NUM_LAYERS = 32
