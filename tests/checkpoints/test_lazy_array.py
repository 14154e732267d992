"""Arrays that are read part by part."""

import numpy as np
from pax_softmoe.checkpoints import lazy_array
from praxis import py_utils


def lazy(array, name='x'):
  """Returns an array, and a list of the parts of it that were read."""
  asked = []

  def read(index):
    asked.append(index)
    return array[index]

  return lazy_array.LazyArray(name, array.shape, read), asked


def test_only_the_part_that_is_asked_for_is_read():
  numbers = np.arange(12).reshape(3, 4)
  array, asked = lazy(numbers)
  layer = array.layer(1)
  assert layer.shape == (4,) and not asked
  np.testing.assert_array_equal(layer.read((slice(1, 3),)), [5, 6])
  assert asked == [(slice(1, 2), slice(1, 3))]
  np.testing.assert_array_equal(array.whole(), numbers)


def test_a_stack_reads_its_layers_alone():
  parts = [lazy(np.full([2], i)) for i in range(4)]
  stacked = lazy_array.stack([array for array, _ in parts])
  assert stacked.shape == (4, 2)
  got = stacked.read((slice(1, 3), slice(None)))
  np.testing.assert_array_equal(got, [[1, 1], [2, 2]])
  assert [len(asked) for _, asked in parts] == [0, 1, 1, 0]


def test_stacks_of_blocks_are_split_and_named():
  array, _ = lazy(np.arange(6).reshape(2, 3))
  head, _ = lazy(np.arange(3))
  tree = py_utils.NestedMap(
      vit=py_utils.NestedMap(
          blocks_2=py_utils.NestedMap(sub=py_utils.NestedMap(w=array))
      ),
      head=head,
  )
  got = lazy_array.split_stacks(tree)
  assert sorted(got) == ['head', 'vit/block_2/w', 'vit/block_3/w']
  np.testing.assert_array_equal(got['vit/block_3/w'].whole(), [3, 4, 5])
  assert got['vit/block_3/w'].name == 'vit/block_3/w'
