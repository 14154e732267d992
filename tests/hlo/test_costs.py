"""Arithmetic and cycles of programs that need a known amount."""

import hlo_text
from pax_softmoe.hlo import costs
import pytest

PRODUCT = 2 * 64 * 64 * 64


@pytest.mark.parametrize(
    'name, want',
    [
        ('matmul_whole', 2 * 512 * 256 * 128),
        ('matmul', 2 * 512 * 256 * 128 // 8),
        ('batched', 2 * 8 * 16 * 32 * 24 // 2),
        ('scan', 7 * PRODUCT),
        ('nested', 3 * (1 + 5) * PRODUCT),
        ('count_up', 7 * PRODUCT),
        # Both branches.
        ('conditional', 3 * PRODUCT),
        ('elementwise', 0),
        ('all_reduce', 0),
        # Of the 3x3 window the last row and column are padding once in four.
        ('strided_convolution', 2 * 4 * 11 * 11 * 16 * 32),
    ],
)
def test_flops_of_matrix_products(compiled, name, want):
  assert costs.matmul_flops(compiled(name)) == want


def test_matrix_products_tell_where_they_come_from(compiled):
  found = costs.matmuls(compiled('nested'))
  assert sorted((c.count, c.each) for c in found) == [
      (3, PRODUCT),
      (15, PRODUCT),
  ]
  assert all('dot_general' in c.op_name for c in found)
  assert all('hlo_programs.py' in c.source for c in found)


def test_unknown_loop_can_be_counted_once(compiled):
  module = compiled('unknown_loop')
  with pytest.raises(ValueError, match='unknown_trips'):
    costs.matmul_flops(module)
  assert costs.matmul_flops(module, unknown_trips=1) == PRODUCT


@pytest.mark.parametrize(
    'operands, config, want',
    [
        ('f32[4,8,16] %x, f32[4,16,32] %w', 'false', 2 * 4 * 8 * 16 * 32),
        ('%x, %w, %bias', 'false', 2 * 4 * 8 * 16 * 32),
        ('%xt, %w', 'true', 2 * 4 * 8 * 16 * 32),
    ],
)
def test_flops_of_calls_of_onednn(operands, config, want):
  program = hlo_text.read(f"""HloModule m

ENTRY %main (x: f32[4,8,16], w: f32[4,16,32]) -> f32[4,8,32] {{
  %x = f32[4,8,16] parameter(0)
  %xt = f32[4,16,8] parameter(1)
  %w = f32[4,16,32] parameter(2)
  %bias = f32[32] parameter(3)
  %call = (f32[4,8,32], u8[512]) custom-call({operands}), custom_call_target="__onednn$matmul", backend_config={{"onednn_matmul_config":{{"transpose_a":{config},"transpose_b":false}}}}
  ROOT %out = f32[4,8,32] get-tuple-element(%call), index=0
}}
""")
  assert costs.matmul_flops(program) == want


CYCLES = """HloModule m

%larger (a: f32[], b: f32[]) -> f32[] {
  %a = f32[] parameter(0)
  %b = f32[] parameter(1)
  ROOT %max = f32[] maximum(%a, %b)
}

%inside (p: f32[8]) -> f32[8] {
  %p = f32[8] parameter(0)
  ROOT %e = f32[8] exponential(%p)
}

%body (t: (s32[], f32[8])) -> (s32[], f32[8]) {
  %t = (s32[], f32[8]) parameter(0)
  %i = s32[] get-tuple-element(%t), index=0
  %one = s32[] constant(1)
  %next = s32[] add(%i, %one)
  %x = f32[8] get-tuple-element(%t), index=1
  %y = f32[8] fusion(%x), kind=kLoop, calls=%inside, metadata={op_name="jit(f)/jit(main)/jvp(vit)/while/body/ffn/exp" source_file="a.py" source_line=3}, backend_config={"window_config":{"estimated_cycles":"600"}}
  %z = f32[8] all-reduce(%y), replica_groups={}, to_apply=%larger
  ROOT %r = (s32[], f32[8]) tuple(%next, %z)
}

%condition (u: (s32[], f32[8])) -> pred[] {
  %u = (s32[], f32[8]) parameter(0)
  %j = s32[] get-tuple-element(%u), index=0
  %n = s32[] constant(5)
  ROOT %test = pred[] compare(%j, %n), direction=LT
}

ENTRY %main (x.1: f32[8]) -> (s32[], f32[8]) {
  %x.1 = f32[8] parameter(0)
  %zero = s32[] constant(0)
  %c = f32[8] copy(%x.1), metadata={op_name="jit(f)/jit(main)/jvp(vit)/ffn/copy" source_file="a.py" source_line=9}, backend_config={"window_config":{"estimated_cycles":"40"}}
  %s = (s32[], f32[8]) tuple(%zero, %c)
  ROOT %w = (s32[], f32[8]) while(%s), condition=%condition, body=%body
}
"""


def test_cycles_count_every_turn_of_a_loop():
  found = costs.cycles(hlo_text.read(CYCLES))
  assert [(c.name, c.count, c.total) for c in found] == [
      ('y', 5, 3000),
      ('c', 1, 40),
  ]


def test_cycles_by_source_and_by_layer():
  found = costs.cycles(hlo_text.read(CYCLES))
  assert list(costs.by_source(found).items()) == [
      ('a.py:3', 3000),
      ('a.py:9', 40),
  ]
  assert costs.by_layer(found) == {('forward', 'vit/ffn'): 3040}


def test_programs_for_the_cpu_have_no_cycles(compiled):
  assert costs.cycles(compiled('matmul')) == []


@pytest.mark.parametrize(
    'op_name, want',
    [
        (
            'jit(step)/jit(main)/jvp(vit)/while/body/ffn/mul',
            ('forward', 'vit/ffn'),
        ),
        (
            'jit(step)/jit(main)/transpose(jvp(vit))/while/body/ffn/mul',
            ('backward', 'vit/ffn'),
        ),
        (
            'jit(s)/jit(main)/transpose(jvp(vit))/checkpoint/ffn/mul',
            ('backward', 'vit/ffn'),
        ),
        (
            (
                'jit(s)/jit(main)/transpose(jvp(vit))/checkpoint/'
                'rematted_computation/ffn/moe/bnd,dep->bnep/dot_general'
            ),
            ('rematerialized', 'vit/ffn/moe/bnd,dep->bnep'),
        ),
        (
            'jit(s)/jit(main)/jvp(net.apply)/net/net.loss/ffn/jit(gelu)/tanh',
            ('forward', 'net/ffn'),
        ),
        (
            'jit(f)/jit(main)/ffn/dot_general[dims=(a/b) precision=None]',
            ('forward', 'ffn'),
        ),
        ('jit(step)/jit(main)/add', ('other', '')),
        ('', ('other', '')),
    ],
)
def test_layer_and_pass_of_an_operation(op_name, want):
  assert costs.layer_path(op_name) == want
