"""A data set of TensorFlow Datasets, made here."""

import numpy as np
import tensorflow_datasets as tfds


class TinyPhotos(tfds.core.GeneratorBasedBuilder):
  """Ten images of one value in 'train', four in 'test', of two classes."""

  VERSION = tfds.core.Version('1.0.0')

  def _info(self):
    return tfds.core.DatasetInfo(
        builder=self,
        features=tfds.features.FeaturesDict({
            'image': tfds.features.Image(shape=(None, None, 3)),
            'label': tfds.features.ClassLabel(names=['no', 'yes']),
        }),
    )

  def _split_generators(self, dl_manager):
    del dl_manager
    return {'train': self._examples(10), 'test': self._examples(4)}

  def _examples(self, count):
    for i in range(count):
      image = np.full([5, 5, 3], i, np.uint8)
      yield i, {'image': image, 'label': i % 2}

  def _generate_examples(self):
    raise NotImplementedError
