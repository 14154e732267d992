"""FLOPs of convolutions."""

import itertools

import hlo_text
from pax_softmoe.hlo import convolution
import pytest


def flops(inputs, kernel, output, attributes):
  program = hlo_text.read(f"""HloModule m

ENTRY %main (x: f32[{inputs}], w: f32[{kernel}]) -> f32[{output}] {{
  %x = f32[{inputs}] parameter(0)
  %w = f32[{kernel}] parameter(1)
  ROOT %c = f32[{output}] convolution(%x, %w), {attributes}
}}
""")
  return convolution.flops(program.entry.root)


@pytest.mark.parametrize(
    'inputs, kernel, output, attributes, want',
    [
        # Three ways in which libtpu writes dots.
        ('8,256', '256,64', '8,64', 'dim_labels=bf_io->bf', 8 * 256 * 64),
        (
            '64,2,128',
            '128,256,1',
            '64,2,256',
            'window={size=1}, dim_labels=b0f_io0->b0f',
            64 * 2 * 128 * 256,
        ),
        (
            '4,64,256',
            '4,256,512',
            '4,64,512',
            'window={size=4 stride=3 lhs_dilate=4}, dim_labels=0bf_0io->0bf',
            4 * 64 * 256 * 512,
        ),
        # Four results of three inputs each, the last one of padding.
        (
            '1,8,1',
            '3,1,1',
            '1,4,1',
            'window={size=3 stride=2 pad=0_1}, dim_labels=b0f_0io->b0f',
            3 * 4 - 1,
        ),
        # Two groups of 8 features: each result reads one of them.
        (
            '2,5,16',
            '1,8,32',
            '2,5,32',
            'window={size=1}, dim_labels=b0f_0io->b0f, feature_group_count=2',
            2 * 5 * 8 * 32,
        ),
    ],
)
def test_flops_are_twice_the_products(inputs, kernel, output, attributes, want):
  assert flops(inputs, kernel, output, attributes) == 2 * want


def test_pairs_of_inputs_and_results_equal_counting_them():
  names = ('size', 'positions', 'window', 'stride', 'padding')
  names += ('dilation', 'spread')
  ranges = ([1, 4], [1, 5], [1, 3], [1, 2, 3], [-1, 0, 2], [1, 2, 3, 4], [1, 2])
  for values in itertools.product(*ranges):
    dim = dict(zip(names, values))
    counted = 0
    for result in range(dim['positions']):
      for k in range(dim['window']):
        at = result * dim['stride'] + k * dim['spread'] - dim['padding']
        last = (dim['size'] - 1) * dim['dilation']
        counted += 0 <= at <= last and at % dim['dilation'] == 0
    assert convolution.valid_pairs(**dim) == counted, dim
