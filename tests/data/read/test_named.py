"""Data sets by what DATA_DIR says."""

import image_folders
import image_records
from pax_softmoe.data.read import fashion_mnist_images
from pax_softmoe.data.read import manifest
from pax_softmoe.data.read import named
from pax_softmoe.data.read import sources
from pax_softmoe.data.read import weighted


def test_a_folder_with_a_manifest_says_its_classes(tmp_path):
  source = image_folders.fill(tmp_path / 'in')
  assert image_folders.softmoe(source, f'--output={tmp_path / "out"}') == 0
  found = named.find(str(tmp_path / 'out'), num_classes=99)
  assert isinstance(found, manifest.ManifestImages)
  assert found.class_names == image_folders.CLASSES
  assert found.num_classes == 3


def test_original_files_of_fashion_mnist_are_known(idx_folder):
  found = named.find(str(idx_folder), 99)
  assert isinstance(found, fashion_mnist_images.FashionMnist)
  assert found.num_classes == 10


def test_another_folder_has_the_classes_of_the_setting(tmp_path):
  image_records.write_records(
      tmp_path / 'train-0.tfrecord', [image_records.example()]
  )
  found = named.find(str(tmp_path), 99)
  assert type(found) is sources.TFRecordImages
  assert found.num_classes == 99


def test_a_mapping_is_a_mixture_by_rates(idx_folder, tmp_path):
  rates = {str(idx_folder): 3.0, f'{idx_folder}/': 1.0}
  found = named.find(rates, 10)
  assert isinstance(found, weighted.MixedImages)
  assert [rate for _, rate in found.parts()] == [3.0, 1.0]
