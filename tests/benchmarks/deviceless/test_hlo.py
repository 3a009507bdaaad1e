"""The reader of optimised HLO counts what a person counts by hand."""

import hlo_samples
import pytest

from benchmarks.deviceless.graphs import kernels_in_graphs
from benchmarks.deviceless.hlo_text import Shape, read_module
from benchmarks.deviceless.kernels import list_kernels


def kernels_of(text, **options):
    return list_kernels(read_module(text), **options).kernels


def only_kernel(text):
    (kernel,) = kernels_of(text)
    return kernel


def test_an_instruction_is_read_with_shapes_operands_and_attributes():
    module = read_module(hlo_samples.LOOPS)
    nested = module.computations["outer_body"]["nested"]
    assert module.entry == "main"
    assert nested.opcode == "while" and nested.is_root
    assert nested.operands == ("outer",)
    assert nested.shapes == (Shape("s32", (), ()), Shape("f32", (4, 8), (1, 0)))
    assert nested.bytes == 4 + 4 * 32
    assert nested.attribute(r"body=%([\w.]+)") == "inner_body"
    assert nested.attribute("absent=(.)") is None


def test_text_that_is_no_module_is_refused():
    with pytest.raises(ValueError, match="begins with ENTRY"):
        read_module("%x = f32[] parameter(0)")


def test_a_kernel_in_nested_loops_is_launched_once_a_turn():
    program = list_kernels(read_module(hlo_samples.LOOPS))
    (kernel,) = program.kernels
    assert kernel.launches == 3 * 5
    assert program.turns == 3 + 3 * 5
    assert program.unknown_loops == 0
    assert kernel.kind == "elementwise" and kernel.source == "body/add"
    # reads 32 numbers once, writes 32, adds 32 times
    assert kernel.cost.bytes == 2 * 32 * 4
    assert kernel.cost.l1_bytes == 32 * 4
    assert kernel.cost.operations == 32


def test_a_loop_of_unknown_length_turns_as_often_as_the_caller_says():
    program = list_kernels(read_module(hlo_samples.UNKNOWN_LOOP), unknown_turns=7)
    fused, condition = program.kernels
    assert fused.launches == 7 * 5
    assert program.turns == 7 + 7 * 5
    assert program.unknown_loops == 1
    # the device evaluates its condition, once more than it turns
    assert condition.kind == "compare" and condition.launches == 7 + 1


def launches_of(text):
    return {kernel.name: kernel.launches for kernel in kernels_of(text)}


def test_outside_of_loops_the_side_of_a_branch_that_moves_most_counts():
    assert launches_of(hlo_samples.BRANCHES) == {"b.1": 1, "b.2": 1, "g.1": 1}


@pytest.mark.parametrize(
    ("turns", "launches"),
    [
        (4, {"a.1": 2, "b.1": 2, "b.2": 2, "g.1": 4}),
        (1, {"b.1": 1, "b.2": 1, "g.1": 1}),  # one turn cannot take both sides
    ],
)
def test_in_a_loop_the_sides_of_a_branch_take_turns(turns, launches):
    assert launches_of(hlo_samples.branches_in_a_loop(turns)) == launches


SEQUENCE = """\
000: kCommandBuffer [source       | next=002 (1)]
    001: kCustomKernel [source       | sink] loop_add_fusion grid: [1, 1, 1]
002: kWhile         [prev=000 (1) | sink        ]
condition:
    003: kCustomKernel [source | sink] wrapped_compare grid: [1, 1, 1]
  body:
    000: kCommandBuffer [source        | next=005 (1) ]
        004: kCustomKernel [source | sink] loop_add_fusion grid: [1, 1, 1]
    005: kConvolution   [prev=000 (1)  | sink ] kConvolution
"""
NAMES = {1: "a.1", 3: "c.1", 4: "g.1", 5: "cudnn-conv"}


def test_xlas_files_say_which_kernels_cuda_graphs_launch(tmp_path):
    (tmp_path / "m.thunk_sequence_after_thunk_passes.txt").write_text(SEQUENCE)
    entries = (
        f'thunk_info {{\n  profile_annotation: "{name}"\n  thunk_id: {number}\n}}\n'
        for number, name in NAMES.items()
    )
    (tmp_path / "m.thunk_metadata.txt").write_text("".join(entries))
    assert kernels_in_graphs(tmp_path) == {"a.1", "g.1"}
    assert kernels_in_graphs(tmp_path / "empty") == frozenset()


def test_kernels_of_a_cuda_graph_are_marked():
    kernels = kernels_of(hlo_samples.BRANCHES, in_graphs={"g.1"})
    assert [kernel.name for kernel in kernels if kernel.in_graph] == ["g.1"]


def test_slices_of_one_array_are_read_from_memory_once_and_from_l1_each_time():
    kernel = only_kernel(
        hlo_samples.fusion(
            "%p = f32[6]{0} parameter(0)",
            "%left = f32[4]{0} slice(%p), slice={[0:4]}",
            "%right = f32[4]{0} slice(%p), slice={[2:6]}",
            "%product = f32[4]{0} multiply(%left, %right)",
            "ROOT %root = f32[4]{0} exponential(%product)",
            operands="%x = f32[6]{0} parameter(0)",
            result="f32[4]{0}",
        )
    )
    assert kernel.cost.bytes == 6 * 4 + 4 * 4
    assert kernel.cost.l1_bytes == 2 * 4 * 4
    assert kernel.cost.operations == 4 + 8 * 4  # an exponential counts as eight


def test_a_fusion_that_reads_a_small_slice_reads_no_more_of_the_array():
    kernel = only_kernel(
        hlo_samples.fusion(
            "%p = f32[100]{0} parameter(0)",
            "%flat = f32[100]{0} bitcast(%p)",
            "ROOT %part = f32[10]{0} slice(%flat), slice={[0:10]}",
            operands="%x = f32[100]{0} parameter(0)",
            result="f32[10]{0}",
        )
    )
    assert kernel.kind == "move"
    assert kernel.cost.bytes == 10 * 4 + 10 * 4
    assert kernel.cost.operations == 0


def test_an_update_in_place_moves_the_update_alone():
    kernel = only_kernel(
        hlo_samples.fusion(
            "%p.0 = f32[100,4]{1,0} parameter(0)",
            "%p.1 = f32[1,4]{1,0} parameter(1)",
            "%p.2 = s32[] parameter(2)",
            "ROOT %new = f32[100,4]{1,0} dynamic-update-slice(%p.0, %p.1, %p.2, %p.2)",
            operands="%x = f32[100,4]{1,0} parameter(0); %u = f32[1,4]{1,0} "
            "parameter(1); %i = s32[] parameter(2)",
            result="f32[100,4]{1,0}",
        )
    )
    assert kernel.cost.bytes == 16 + 16 + 4  # update read and written, index read


def test_a_fusion_with_several_results_writes_all():
    kernel = only_kernel(
        hlo_samples.fusion(
            "%p = bf16[8]{0} parameter(0)",
            "%wide = f32[8]{0} convert(%p)",
            "%square = f32[8]{0} multiply(%wide, %wide)",
            "ROOT %both = (f32[8]{0}, f32[8]{0}) tuple(%wide, %square)",
            operands="%x = bf16[8]{0} parameter(0)",
            result="(f32[8]{0}, f32[8]{0})",
        )
    )
    assert kernel.cost.bytes == 8 * 2 + 2 * 8 * 4


@pytest.mark.parametrize(
    "call",
    [
        "dot(%a, %b), lhs_contracting_dims={1}, rhs_contracting_dims={0}",
        'custom-call(%a, %b), custom_call_target="__cublas$gemm", backend_config='
        '{"gemm_backend_config":{"dot_dimension_numbers":{"lhs_contracting_dimensions"'
        ':["1"],"rhs_contracting_dimensions":["0"]}}}',
    ],
)
def test_a_matrix_product_counts_two_operations_a_term(call):
    text = hlo_samples.entry(
        "f32[8,4]{1,0}",
        "%a = bf16[8,16]{1,0} parameter(0)",
        "%b = bf16[16,4]{1,0} parameter(1)",
        f"ROOT %out = f32[8,4]{{1,0}} {call}",
    )
    cost = only_kernel(text).cost
    assert cost.products == 2 * 8 * 16 * 4
    assert cost.product_dtype == "bf16"
    assert cost.bytes == 2 * (8 * 16 + 16 * 4) + 4 * 8 * 4
    assert cost.operations == 0


# 2 images of 8 x 8 pixels, 4 to 16 channels, 3 x 3: each of the three arrays can be the
# result, and all three computations have as many operations.
IMAGES = "bf16[2,8,8,4]{3,2,1,0}"
KERNEL = "bf16[16,3,3,4]{3,2,1,0}"
OUTPUT = "bf16[2,8,8,16]{3,2,1,0}"


@pytest.mark.parametrize(
    ("name", "operands", "result", "kind"),
    [
        ("Forward", (IMAGES, KERNEL), OUTPUT, "cudnn convolution"),
        (
            "BackwardInput",
            (OUTPUT, KERNEL),
            IMAGES,
            "cudnn convolution BackwardInput",
        ),
        (
            "BackwardFilter",
            (IMAGES, OUTPUT),
            KERNEL,
            "cudnn convolution BackwardFilter",
        ),
    ],
)
def test_a_convolution_and_its_gradients_count_the_same(name, operands, result, kind):
    call = (
        f"%both = ({result}, u8[1000]{{0}}) custom-call(%a, %b), window={{size=3x3 "
        f'pad=1_1x1_1}}, dim_labels=b01f_o01i->b01f, custom_call_target="__cudnn$conv'
        f'{name}"'
    )
    text = hlo_samples.entry(
        result,
        f"%a = {operands[0]} parameter(0)",
        f"%b = {operands[1]} parameter(1)",
        call,
        f"ROOT %out = {result} get-tuple-element(%both), index=0",
    )
    kernel = only_kernel(text)
    assert kernel.kind == kind
    assert kernel.cost.products == 2 * (2 * 8 * 8 * 16) * (3 * 3 * 4)
    # the workspace of a thousand bytes is not moved
    sizes = 2 * 8 * 8 * 4, 16 * 3 * 3 * 4, 2 * 8 * 8 * 16
    assert kernel.cost.bytes == 2 * sum(sizes)


def test_a_grouped_convolution_is_named_and_counts_one_group_per_output():
    text = hlo_samples.entry(
        "f32[1,4,4,8]{3,2,1,0}",
        "%a = f32[1,4,4,8]{3,2,1,0} parameter(0)",
        "%b = f32[8,3,3,1]{3,2,1,0} parameter(1)",
        "ROOT %out = f32[1,4,4,8]{3,2,1,0} custom-call(%a, %b), dim_labels="
        "b01f_o01i->b01f, feature_group_count=8, "
        'custom_call_target="__cudnn$convForward"',
    )
    kernel = only_kernel(text)
    assert kernel.kind == "cudnn convolution grouped"
    assert kernel.cost.products == 2 * (4 * 4 * 8) * 9


@pytest.mark.parametrize(
    ("source", "result", "kind"),
    [
        ("f32[4,8]{1,0}", "f32[4,8]{0,1}", "transpose"),
        ("f32[4,8]{1,0}", "f32[4,8]{1,0}", "move"),
        ("f32[4,1,8]{2,1,0}", "f32[4,1,8]{2,0,1}", "move"),  # one row stays one row
    ],
)
def test_a_copy_into_another_layout_is_a_transpose(source, result, kind):
    text = hlo_samples.entry(
        result, f"%a = {source} parameter(0)", f"ROOT %out = {result} copy(%a)"
    )
    kernel = only_kernel(text)
    assert kernel.kind == kind
    assert kernel.cost.bytes == 2 * 32 * 4


@pytest.mark.parametrize(
    ("opcode", "result", "kind", "operations"),
    [
        ("transpose(%p), dimensions={1,0}", "f32[8,4]{1,0}", "transpose", 0),
        ("reduce(%p, %z), dimensions={0}, to_apply=%s", "f32[8]{0}", "reduce", 32),
        ("pad(%p, %z), padding=0_1x0_0", "f32[5,8]{1,0}", "move", 0),
        ("negate(%p)", "f32[4,8]{1,0}", "elementwise", 32),
        (
            "reduce-window(%p, %z), window={size=3x3 pad=1_1x1_1}, to_apply=%s",
            "f32[4,8]{1,0}",
            "reduce-window",
            9 * 32,
        ),
    ],
)
def test_a_fusion_is_named_by_what_it_computes(opcode, result, kind, operations):
    kernel = only_kernel(
        hlo_samples.fusion(
            "%p = f32[4,8]{1,0} parameter(0)",
            "%z = f32[] constant(0)",
            f"ROOT %root = {result} {opcode}",
            operands="%x = f32[4,8]{1,0} parameter(0)",
            result=result,
        )
    )
    assert kernel.kind == kind
    assert kernel.cost.operations == operations


def test_a_product_that_triton_computes_is_named():
    kernel = only_kernel(
        hlo_samples.fusion(
            "%p = f32[4,8]{1,0} parameter(0)",
            "ROOT %root = f32[4,4]{1,0} dot(%p, %p), lhs_contracting_dims={1}, "
            "rhs_contracting_dims={1}",
            operands="%x = f32[4,8]{1,0} parameter(0)",
            result="f32[4,4]{1,0}",
            attributes=', backend_config={"kind":"__triton_nested_gemm_fusion"}',
        )
    )
    assert kernel.kind == "triton product"
    assert kernel.cost.products == 2 * 4 * 4 * 8


@pytest.mark.parametrize(
    ("dtype", "size"), [("pred", 8), ("bf16", 16), ("f32", 32), ("u8", 8), ("c64", 64)]
)
def test_eight_numbers_of_each_type_have_their_bytes(dtype, size):
    assert Shape(dtype, (2, 4), (1, 0)).bytes == size
