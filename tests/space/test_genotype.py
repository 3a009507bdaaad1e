"""Tests of genotypes: validation, text form and JSON form."""

import json
import os

import hypothesis
import pytest
from hypothesis import strategies as st

from egnas_jax.space import DARTS_PRIMITIVES, Genotype, zoo

PAIRS = "[('sep_conv_3x3', 1), ('skip_connect', 0)]"
TEXT = f"Genotype(normal={PAIRS}, normal_concat=[2], reduce={PAIRS}, reduce_concat=[2])"
DICTIONARY = (
    f"{{'normal': {PAIRS}, 'normal_concat': [2], 'reduce': {PAIRS}, "
    "'reduce_concat': [2]"
)
PLAIN = Genotype.parse(TEXT)


@st.composite
def cells(draw, first_output):
    num_blocks = draw(st.integers(1, 6))
    pairs = []
    for index in range(2 * num_blocks):
        source = draw(st.integers(0, 1 + index // 2))
        pairs.append((draw(st.sampled_from(DARTS_PRIMITIVES)), source))
    nodes = st.integers(first_output, 1 + num_blocks)
    return pairs, draw(st.lists(nodes, min_size=1, unique=True))


@hypothesis.settings(max_examples=100, deadline=None, derandomize=True)
@hypothesis.given(cells(0), cells(2))
def test_random_genotypes_survive_both_written_forms(normal, reduce):
    genotype = Genotype(*normal, *reduce)
    assert Genotype.parse(genotype.format()) == genotype
    assert Genotype.from_json(genotype.to_json()) == genotype


@pytest.mark.parametrize("name", sorted(zoo))
def test_published_genotypes_survive_both_written_forms(name):
    genotype = zoo[name].genotype
    assert Genotype.parse(genotype.format()) == genotype
    assert Genotype.from_json(genotype.to_json()) == genotype


def test_the_text_form_is_what_torch_repositories_print():
    genotype = Genotype(
        [("sep_conv_3x3", 1), ("none", 0)] * 4,
        range(2, 6),
        [("max_pool_3x3", 0), ("skip_connect", 1)] * 4,
        [2, 5],
    )
    normal = str([("sep_conv_3x3", 1), ("none", 0)] * 4)
    reduce = str([("max_pool_3x3", 0), ("skip_connect", 1)] * 4)
    assert genotype.format() == (
        f"Genotype(normal={normal}, normal_concat=range(2, 6), "
        f"reduce={reduce}, reduce_concat=[2, 5])"
    )


def test_the_json_form_holds_the_genotype_alone():
    assert json.loads(PLAIN.to_json()) == {
        "normal": [["sep_conv_3x3", 1], ["skip_connect", 0]],
        "normal_concat": [2],
        "reduce": [["sep_conv_3x3", 1], ["skip_connect", 0]],
        "reduce_concat": [2],
    }


def test_equal_genotypes_have_equal_hashes():
    assert {PLAIN: 1}[Genotype.from_json(PLAIN.to_json())] == 1


@pytest.mark.parametrize(
    "text",
    [
        f"Genotype({PAIRS}, [2], {PAIRS}, [2])",
        f"Genotype({PAIRS}, reduce={PAIRS}, normal_concat=(2,), reduce_concat=[2])",
        f"DARTS = Genotype({PAIRS}, range(2, 3), {PAIRS}, list(range(2, 3)))",
        f"\n  A = B = Genotype(\n normal={PAIRS},\n\n normal_concat=tuple([2]),\n"
        f" reduce={PAIRS},\n reduce_concat=range(2, 3),  # a comment\n)\n",
        TEXT.replace("[(", "((").replace(")]", "))"),
        TEXT.replace(PAIRS, f"[{PAIRS}]"),
        TEXT.replace("1)", "1, 0.5)").replace("0)", "0, 2)"),
        TEXT.replace("1)", "np.int64(1), np.float32(-0.5))"),
        TEXT.replace("[2])", "[2], connects=None)"),
        f"{{'normal': [{PAIRS}], 'normal_concat': [2], 'reduce': {PAIRS}, "
        "'reduce_concat': [2]}",
        TEXT.replace("Genotype", "genotype"),
        TEXT.replace("Genotype", "dict").replace("[2])", "[2], acc=best())"),
        TEXT.replace("Genotype", "Cells"),
        f"{DICTIONARY}, 'acc': 93.2, 'ok': True, 3: [f(x)], **more}}",
        f"OrderedDict({DICTIONARY}}})",
        f"OrderedDict([('epoch', 3), ('normal', {PAIRS}), ('normal_concat', [2]), "
        f"('reduce', {PAIRS}), ('reduce_concat', [2])])",
        TEXT.replace("[2]", "array([2])"),
        TEXT.replace("[2]", "np.array([2], dtype=int32)"),
        TEXT.replace("[2]", "tensor([2], device='cuda:0')"),
        TEXT.replace("[2]", "list(np.array([2]))"),
        TEXT.replace("[2]", "range(2, 3, 1)"),
        TEXT.replace("[2]", "range(2, 1, -1)"),
        TEXT.replace("'sep_conv_3x3'", "np.str_('sep_conv_3x3')"),
        *(
            TEXT.replace("1)", f"1, {weight})")
            for weight in (
                "tensor(0.25, grad_fn=<SelectBackward0>)",
                "tensor(0.25, device='cuda:0', grad_fn=<MaxBackward1>)",
                "tensor(0.25, dtype=torch.float64, requires_grad=True)",
                "array(0.25, dtype=float32)",
                "tensor(nan)",
                "np.float32(-inf)",
                "nan",
                "-inf",
                "np.nan",
                "float('nan')",
            )
        ),
    ],
)
def test_parse_accepts_the_variants_that_repositories_and_people_write(text):
    assert Genotype.parse(text) == PLAIN


@pytest.mark.parametrize(
    "piece",
    [
        "__import__('os').system('touch {path}')",
        "open('{path}', 'w')",
        "[open('{path}', 'w') for _ in range(0, 1)]",
        "(lambda: open('{path}', 'w'))()",
        "range(2, open('{path}', 'w'))",
        "list(open('{path}', 'w'))",
        "f\"{{open('{path}', 'w')}}\"",
        "(x := open('{path}', 'w'))",
    ],
)
@pytest.mark.parametrize("place", ["[2]", PAIRS, "('sep_conv_3x3', 1)", "1"])
def test_code_in_a_text_is_refused_and_never_run(tmp_path, piece, place):
    path = tmp_path / "ran"
    text = TEXT.replace(place, piece.format(path=path), 1)
    assert text != TEXT
    with pytest.raises(ValueError, match="Nothing was run|two whole numbers"):
        Genotype.parse(text)
    assert not path.exists()


@pytest.mark.parametrize(
    "frame",
    [
        "open('{path}', 'w'); {text}",
        "{text}\nopen('{path}', 'w')",
        "x[open('{path}', 'w')] = {text}",
        "open('{path}', 'w') or {text}",
        "{text}.normal",
        "f({text})",
        "open('{path}', 'w')",
    ],
)
def test_code_around_a_text_is_refused_and_never_run(tmp_path, frame):
    path = tmp_path / "ran"
    with pytest.raises(ValueError, match="Not a genotype"):
        Genotype.parse(frame.format(path=path, text=TEXT))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sep_conv_3x3", "sep_conv_9x9", r"normal\[0\].*'sep_conv_9x9'.*sep_conv_"),
        ("'sep_conv_3x3'", "3", r"normal\[0\].*Unknown primitive 3"),
        ("1)", "2)", r"normal\[0\].*node 2 cannot take node 2.*0 to 1"),
        ("1)", "-1)", r"node 2 cannot take node -1"),
        ("1)", "1.0)", r"whole number, got 1.0"),
        ("1)", "True)", r"found 'True'"),
        ("1)", "'1')", r"whole number, got '1'"),
        ("1)", "1, 2, 0.5)", r"normal\[0\].*give a pair"),
        ("1)", "1, 3)", r"normal\[0\].*third entry is 3.*or 2, the node"),
        ("1)", "1, '2')", r"normal\[0\].*third entry is '2'"),
        ("1)", "1, [0.5])", r"every node takes 2 \(primitive, source\) pairs"),
        (PAIRS, f"[{PAIRS}, ('skip_connect', 0)]", r"normal\[1\].*nested by node"),
        (PAIRS, "[[('skip_connect', 0)]]", r"normal\[0\].*every node takes 2"),
        ("[2], reduce=", "[2.0], reduce=", r"whole number, got 2.0"),
        ("1)", "np.float32('1'))", r"One number was expected"),
        ("[2])", "[2], more=3)", r"no field 'more'"),
        ("('sep_conv_3x3', 1), ", "", r"normal holds 1 .*even number"),
        (PAIRS, "[]", r"normal holds 0 .*even number"),
        (PAIRS, "'none'", r"normal: give a list"),
        ("('sep_conv_3x3', 1)", "'ab'", r"normal\[0\].*give a list"),
        ("normal_concat=[2]", "normal_concat=[2, 3]", r"no node 3.*nodes 0 to 2"),
        ("normal_concat=[2]", "normal_concat=[-1]", r"no node -1"),
        ("normal_concat=[2]", "normal_concat=[]", r"must name nodes"),
        ("normal_concat=[2]", "normal_concat=[2, 2]", r"each once"),
        ("normal_concat=[2]", "normal_concat=2", r"normal_concat: give a list"),
        ("normal_concat=[2]", "normal_concat=['2']", r"whole number, got '2'"),
        ("reduce_concat=[2]", "reduce_concat=[1]", r"no node 1.*nodes 2 to 2"),
        ("normal_concat=[2], ", "", r"lacks normal_concat"),
        ("normal_concat=[2]", "normal_concats=[2]", r"no field 'normal_concats'"),
        ("reduce_concat=[2]", "**x", r"no field '\*\*'"),
        ("normal=", "[], normal=", r"field 'normal' twice"),
        ("[2])", "[2], 3, 4, 5, 6, 7)", r"Not a genotype"),
        ("[2]", "range(2, 10**9)", r"found '10 \*\* 9'"),
        ("[2]", "range(2, 1000000000)", r"at most 100 entries"),
        ("[2]", f"range({10**30})", r"at most 100 entries"),
        ("[2]", "range(2, 3, 0)", r"found 'range\(2, 3, 0\)'"),
        ("[2]", "range(2, 3, 1, 1)", r"found 'range\(2, 3, 1, 1\)'"),
        ("[2]", "range(2.0, 3)", r"found 'range\(2.0, 3\)'"),
        ("[2]", "array([2.0])", r"whole number, got 2.0"),
        ("1)", "nan)", r"whole number, got nan"),
        ("'sep_conv_3x3'", "np.str_(3)", r"Nothing was run"),
        ("'sep_conv_3x3'", "str('sep_conv_3x3')", r"Nothing was run"),
        ("Genotype(normal", "dict(norm", r"lacks normal"),
        ("reduce=", "reduce=(", r"Not a genotype"),
        ("[2]", "-" * 15_000 + "2", r"Not a genotype|whole numbers"),
        ("[2]", "x" + ".x" * 5_000, r"nested too deeply|whole numbers|complex"),
        ("[2]", "[2" + ", 2" * 10_000 + "]", r"at most 20000 characters"),
    ],
)
def test_errors_name_the_wrong_part_of_a_text(old, new, message):
    assert old in TEXT
    with pytest.raises(ValueError, match=message):
        Genotype.parse(TEXT.replace(old, new, 1))


@pytest.mark.parametrize("text", ["", "\0", None, 3, b"Genotype()"])
def test_values_that_are_no_genotype_text_are_refused(text):
    with pytest.raises(ValueError, match="genotype"):
        Genotype.parse(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        (None, "cannot be read"),
        ("[" * 100_000, "cannot be read"),
        ("[1, 2]", "exactly the fields"),
        ('{"normal": []}', "exactly the fields"),
        (PLAIN.to_json().replace("1]", "1.0]"), "whole number, got 1.0"),
        (PLAIN.to_json().replace("1]", "true]"), "whole number, got True"),
        (PLAIN.to_json().replace("1]", "null]"), "whole number, got None"),
        (PLAIN.to_json().replace("sep_conv_3x3", "sep"), "Unknown primitive 'sep'"),
        (PLAIN.to_json().replace("1]", "7]"), "cannot take node 7"),
    ],
)
def test_errors_name_the_wrong_part_of_a_json_text(text, message):
    with pytest.raises(ValueError, match=message):
        Genotype.from_json(text)
