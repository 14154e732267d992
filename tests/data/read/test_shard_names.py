"""Which files of a folder are those of a split."""

import image_records
from pax_softmoe.data.read import shard_names
import pytest


@pytest.mark.parametrize(
    'names, want',
    [
        # Splits whose names begin as another's does.
        (
            [
                'train-00000-of-00002.tfrecord',
                'train-00001-of-00002.tfrecord',
                'train-extra-00000-of-00001.tfrecord',
                'train-clean.tfrecord',
                'training-00000-of-00001.tfrecord',
            ],
            [0, 1],
        ),
        (
            ['train-0.tfrecord', 'train-1.tfrecord', 'train-old-0.tfrecord'],
            [0, 1],
        ),
        # Whatever people call their files, if there is but one kind.
        (['train-part1.tfrecord', 'train-part2.tfrecord'], [0, 1]),
        (
            [
                'train-00001-of-00002.tfrecord.x',
                'train-00000-of-00002.tfrecord.x',
            ],
            [1, 0],
        ),
        (['train-extra-00000-of-00001.tfrecord'], 'no file has such a name'),
        (['train-a.tfrecord', 'train-b.tfrecord'], 'or of other splits; name'),
        (
            [f'train-0000{i}-of-00004.tfrecord' for i in (0, 1, 3)],
            '1 of 4 files .* missing, such as number 00002; copy them',
        ),
        (
            ['train-00000-of-00001.tfrecord', 'train-00000-of-00002.tfrecord'],
            'are of data in 1 and in 2 files; remove those of one',
        ),
        (
            [
                'train-00000-of-00001.tfrecord',
                'train-00000-of-00001.tfrecord.bak',
            ],
            'are the same part',
        ),
        (
            ['train-00000-of-00001.tfrecord', 'train-7.tfrecord'],
            'train-7.tfrecord is not numbered as',
        ),
    ],
)
def test_files_of_a_split_are_all_there_and_no_others(tmp_path, names, want):
  for name in names:
    image_records.write_records(tmp_path / name, [image_records.example()])
  find = lambda: shard_names.find(tmp_path, '{split}-*.tfrecord*', 'train')
  if isinstance(want, str):
    with pytest.raises(ValueError, match=want) as error:
      find()
    assert '\n' not in str(error.value)
  else:
    assert find() == [str(tmp_path / names[i]) for i in want]


def test_pattern_of_a_data_set_with_its_name_before_the_split(tmp_path):
  for name in ('pets-train.tfrecord-00000-of-00001', 'pets-trainx.tfrecord-0'):
    image_records.write_records(tmp_path / name, [image_records.example()])
  found = shard_names.find(tmp_path, 'pets-{split}.tfrecord*', 'train')
  assert found == [str(tmp_path / 'pets-train.tfrecord-00000-of-00001')]
