"""Genotypes in logs, modules, JSON and printed lines: which one counts, and what."""

import contextlib
import json
import time

import pytest

from egnas_jax.space import Genotype, Topology, draw_svg, zoo
from egnas_jax.space.genotype_search import holds_genotype, last_genotype

FIRST, LAST = zoo["PDARTS"].genotype, zoo["DARTS_V2"].genotype
BARS = "|nor_conv_3x3~0|+|nor_conv_3x3~0|none~1|+|skip_connect~0|none~1|avg_pool_3x3~2|"
CELL = Topology.parse(BARS)
NODES = (
    "[(('nor_conv_3x3', 0),), (('nor_conv_3x3', 0), ('none', 1)), "
    "(('skip_connect', 0), ('none', 1), ('avg_pool_3x3', 2))]"
)
LOG = """2019-12-31 02:51:20,247 epoch 12 lr 4.32e-01 (it's the "last" but one)
2019-12-31 02:51:20,249 genotype = {}
2019-12-31 02:52:04,109 train 000 6.916040e+00 0.585938
"""
MODULE = """from collections import namedtuple
Genotype = namedtuple("Genotype", "normal normal_concat reduce reduce_concat")
A = {first}
B = genotypes.Genotype(  # its author's (
    normal={normal},  # a comment with a bracket )
    normal_concat=range(2, 6),
    reduce={reduce}, reduce_concat=[2, 3, 4, 5]
)
# C = {first}
'''
D = {first}
'''
DARTS = B
"""


def nested(pairs):
    return [[a, b] for a, b in zip(pairs[::2], pairs[1::2], strict=True)]


def with_weights(pairs, weight=0.25):
    return [(*pair, weight) for pair in pairs]


def fields(form=list):
    return {
        "normal": form(LAST.normal),
        "normal_concat": [2, 3, 4, 5],
        "reduce": form(LAST.reduce),
        "reduce_concat": [2, 3, 4, 5],
    }


def call(form=list, more=""):
    arguments = ", ".join(f"{name}={value}" for name, value in fields(form).items())
    return f"Genotype({arguments}{more})"


def nested_with_weights(pairs):
    return nested(with_weights(pairs))


ONE = {
    "a printed line": LAST.format() + "\n",
    "a line after a name": f"best: {LAST.format()}.",
    "a search's output": f"{LAST.format()}\nValidation accuracy 9.0 %\nRun: runs/a\n",
    "what Python prints": repr(LAST),
    "a quoted text": json.dumps(LAST.format()),
    "our JSON": LAST.to_json(),
    "JSON in a log": f"12:00 best {LAST.to_json()} (epoch 3)",
    "JSON with other fields": json.dumps(fields() | {"source": "a paper"}),
    "JSON inside JSON": json.dumps({"runs": [{"genotype": fields()}]}),
    "a summary": json.dumps(
        {"genotype": LAST.format(), "runs": [{"genotype": FIRST.format()}]}, indent=2
    ),
    "a drawing": draw_svg(LAST),
    "nested by node": call(nested),
    "weights": call(with_weights),
    "nested with weights": call(nested_with_weights),
    "numbers of numpy": call(nested_with_weights).replace("0.25", "np.float32(0.25)"),
    "numbers of torch": call(with_weights).replace("0.25", "tensor(0.25, device='x')"),
    "fields that are None": call(nested, ", connectN=None, connects=None"),
    "a dictionary": str(fields(nested_with_weights)),
    "a dictionary in a log": f"[GDAS] genotype : {fields(nested)}, time 3.2",
    "JSON nested by node": json.dumps(fields(nested_with_weights)),
    "Windows lines": call().replace("], ", "],\r\n  "),
}


@pytest.mark.parametrize("text", ONE.values(), ids=ONE)
def test_a_text_with_one_genotype_is_read(text):
    assert holds_genotype(text)
    assert last_genotype(text) == (LAST, 1)


def after_another(form):
    """A text of the last genotype after a log line that holds the first one."""
    return LOG.format(FIRST.format()) + form + "\n12:00 done (x\n"


ITEMS = str(list(fields().items()))
KEYWORDS = call().removeprefix("Genotype")
VALUES = ", ".join(map(str, fields().values()))
OTHER_KINDS = {
    "JSON with more before": json.dumps({"epoch": 2} | fields() | {"ok": True}),
    "JSON with more between": json.dumps(
        {"a": {"b": ":)"}, "reduce_concat": [2, 3, 4, 5], "c": "("} | fields()
    ),
    "a dictionary with more": str({"acc": 93.2, "ok": None} | fields()),
    "JSON by lines": json.dumps({"epoch": 2} | fields(), indent=2),
    "an ordered dictionary": f"OrderedDict({ITEMS})",
    "an ordered dictionary of 3.12": f"OrderedDict({fields()})",
    "its items": f"odict_items({ITEMS})",
    "with more items": f"OrderedDict([('epoch', (2, 3)), {ITEMS[1:-1]}])",
    "dict": f"dict{KEYWORDS}",
    "a small letter": f"best genotype{KEYWORDS}",
    "another name": f"<net.Cells{KEYWORDS}>",
    "a module": f"genotypes.Genotype{KEYWORDS}",
    "a space": f"Genotype {KEYWORDS}",
    "by position": f"genotype = Genotype({VALUES})",
    "numpy's strings": call().replace("('", "(np.str_('").replace("',", "'),"),
    "numpy's arrays": call().replace("[2, 3, 4, 5]", "array([2, 3, 4, 5])"),
    "JSON in JSON": json.dumps({"message": json.dumps(fields())}),
    "a text in JSON": json.dumps(f"{call()} is 'best'"),
    "a text in Python": repr(f'{call()} is "best"'),
    "lines in JSON": json.dumps({"message": f"Genotype(\n  {KEYWORDS[1:]}"}),
    "Markdown": call().replace("_", "\\_"),
    "gradients": call(with_weights).replace(
        "0.25", "tensor(0.25, grad_fn=<SelectBackward0>)"
    ),
    "no weights": call(with_weights).replace("0.25", "nan"),
}


@pytest.mark.parametrize("form", OTHER_KINDS.values(), ids=OTHER_KINDS)
def test_the_last_genotype_of_a_log_counts_in_whichever_form(form):
    assert last_genotype(after_another(form)) == (LAST, 2)
    assert last_genotype(form) == (LAST, 1)


@pytest.mark.parametrize(
    "line",
    [
        f"y = {LAST.format()!r}",
        f"y = eval({LAST.format()!r})",
        f"y = '''\n{LAST.to_json()}\n'''",
        "y = " + repr(f"Genotype(\n{KEYWORDS[1:]}"),
        f"y = Genotype(**json.loads({LAST.to_json()!r}))",
        f"y = OrderedDict({ITEMS})",
        f'y = b"{LAST.format()}"',
        f'print(f"{LAST.format()} after {{x}} epochs")',
        f"y = dict{KEYWORDS}",
        f"y = nas.genotype{KEYWORDS}",
        f"y = { ({'acc': 3} | fields())!r}",
        f"y = Genotype({VALUES})",
        f"if x:\n    y = [Genotype{KEYWORDS}]  # |none~0|",
    ],
)
def test_the_last_genotype_of_a_module_counts_in_whichever_form(line):
    assert last_genotype(f"x = {FIRST.format()}\n{line}\n") == (LAST, 2)
    assert last_genotype(f"{line}\nx = {FIRST.format()}\n") == (FIRST, 2)


PROSE = [
    "Saved Genotype (best) to x.json",
    "Genotype(s) of epoch 3, genotype (2), Genotype('best')",
    "class Genotype(object): pass",
    "Usage: Genotype(normal=[...], reduce=[...])",
    "Allowed: Genotype(normal=[('sep_conv_3x3', 1), ...], normal_concat=range(2, 6), "
    "reduce=[...], reduce_concat=range(2, 6)) or |op~0|+|op~0|op~1|+|op~0|op~1|op~2|.",
    "edges: {'normal': 14, 'reduce': 14}",
    "alphas: {'normal': [[0.1, 0.2]], 'reduce': [[0.1, 0.2]]}",
    "names: {'normal': ['sep_conv_3x3', 'none'], 'reduce': ['none']}",
    "normal=[[0.1]], reduce=tensor([[0.2]])",
    "return Genotype(normal=gene, normal_concat=c, reduce=r, reduce_concat=c)",
    "|epoch~3|4~5| and |~|~|",
]


@pytest.mark.parametrize("prose", PROSE)
def test_prose_after_a_genotype_hides_it_not(prose):
    assert last_genotype(f"12:00 {LAST.format()}\n12:01 {prose}\n") == (LAST, 1)
    assert last_genotype(f"x = {LAST.format()}\ny = {prose!r}\n") == (LAST, 1)


def test_code_that_builds_a_genotype_hides_none_of_a_module():
    code = "def make(n, c):\n    return Genotype(normal=n, normal_concat=c)\n"
    code += "raise ValueError(f'Genotype(normal=[(\"none\", {0})')\n"
    assert last_genotype(f"x = {LAST.format()}\n{code}") == (LAST, 1)


@pytest.mark.parametrize("after", [",93.2", "|93.2|", "| 93.2 |", ", 93.2", ";", ")"])
def test_a_cell_between_bars_ends_at_its_last_bar(after):
    assert last_genotype(f"|1|{BARS}{after}\n") == (CELL, 1)


@pytest.mark.parametrize(
    "text",
    [
        "|" + "~" * 30_000,
        "|a" * 30_000,
        "|a~0" * 30_000,
        "|a~0|+" * 30_000,
        ("|a~0|" + " " * 30) * 3_000,
        "normal=" * 30_000,
        "\\" * 30_000,
        "Genotype(normal=[('a'," + " " * 19_000 + "0)])",
        "{'normal':" + "[" * 30_000,
        "(" * 30_000 + "normal=['" * 1_000,
        "{'normal' " + " " * 30_000 + ":",
        "Genotype" * 10_000 + " " * 30_000,
    ],
    ids=lambda text: text[:12],
)
def test_hostile_texts_are_searched_in_no_time(text):
    start = time.process_time()
    with contextlib.suppress(ValueError):
        last_genotype(text)
    assert time.process_time() - start < 1.5


def records_of(*genotypes, first_epoch=0, **more):
    """Lines as of metrics.jsonl; the last one holds `more`."""
    records = [
        {"epoch": epoch, "genotype": genotype.format()}
        for epoch, genotype in enumerate(genotypes, first_epoch)
    ]
    records[-1] |= more
    return "".join(json.dumps(record) + "\n" for record in records)


SEVERAL = {
    "a log": (LOG.format(FIRST.format()) + LOG.format(LAST.format()), 2),
    "records": (records_of(FIRST, LAST, FIRST, LAST), 4),
    "records of an early stop": (records_of(FIRST, LAST, FIRST, early_stop=1), 2),
    "records that begin later": (
        records_of(FIRST, LAST, FIRST, early_stop=8, first_epoch=7),
        2,
    ),
    **{
        f"early_stop is {value}": (records_of(FIRST, FIRST, LAST, early_stop=value), 3)
        for value in (False, True, None, 1.0, 3, -1, "0")
    },
    "a patience in every record": (
        records_of(FIRST, LAST).replace("}", ', "early_stop": 0}'),
        2,
    ),
    "a module": (
        MODULE.format(
            first=FIRST.format(), normal=list(LAST.normal), reduce=list(LAST.reduce)
        ),
        2,
    ),
    "both families": (f"{BARS}\n{FIRST.format()}\n{LAST.format()}", 3),
}


@pytest.mark.parametrize("text, count", SEVERAL.values(), ids=SEVERAL)
def test_the_last_genotype_of_a_text_counts(text, count):
    assert last_genotype(text) == (LAST, count)


@pytest.mark.parametrize(
    "text",
    [
        BARS,
        BARS.replace("+", " + "),
        f"arch = '{BARS}', accuracy 93.2",
        f"| 1 | {BARS} | 93.2 |",
        f"Structure(4 nodes with {BARS})",
        f"[017-050] genotype : CellStructure(4 nodes with {BARS})\nvalid 3.2",
        f"best_CODE = Structure({NODES})",
        f"12:00 Structure({NODES}) (best)",
        repr(CELL),
        f"SearchResult(genotype={CELL!r}, valid_accuracy=0.5, records=[<a>])",
        CELL.to_json(),
        json.dumps({"arch_str": BARS}),
        draw_svg(CELL),
    ],
)
def test_cells_of_nasbench201_are_read_in_every_form(text):
    assert holds_genotype(text)
    assert last_genotype(text) == (CELL, 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "epoch 3, accuracy (best) 3.2 | 4.1 |",
        "class Genotype(NamedTuple):\n    normal: list",
        'Genotype = namedtuple("Genotype", "normal reduce")',
        '{"normalise": 1}',
        "Genotype(...)",
        "Saved Genotype (best) to x.json",
        "Genotype('best'), Genotype([3]), genotype(model)",
        "| 1 | x~3 | and |~3|~4| and |3~4|5~6|",
        "normal = [('none', 0)]",
        "(normal=[('none', 0)])",
        "[" * 100_000,
        "\0",
    ],
)
def test_a_text_without_a_genotype_has_none(text):
    assert last_genotype(text) is None


@pytest.mark.parametrize(
    "text, message",
    [
        (LOG.format(FIRST.format()) + LAST.format()[:-20], "cut off.*not closed"),
        (LAST.format().replace("skip_connect", "skip"), "Unknown primitive 'skip'"),
        (BARS.replace("none", "nothing"), "Unknown primitive 'nothing'"),
        (BARS[:-1], "Node 3 takes `op~source` between bars"),
        (BARS[:-12], "Node 3 takes `op~source` between bars"),
        ("Structure([(1, 2)])", "for each node a list of pairs"),
        (json.dumps({"normal": [], "reduce": []}), "lacks normal_concat"),
        (json.dumps({"normal": [["none", 0]]}), "lacks normal_concat"),
        ("Genotype(normal=..., reduce=...)", "lacks normal_concat"),
        (call(nested).replace("[[", "[", 1).replace("]]", "]", 1), "Not a|give|nested"),
        (repr(CELL).replace("none", "no"), "Unknown primitive 'no'"),
        ("Structure([1], 3)", "One argument was expected"),
        (
            "return Genotype(normal=gene, normal_concat=c, reduce=r, reduce_concat=c)",
            "found 'gene'. Nothing was run",
        ),
    ],
)
def test_a_last_genotype_that_cannot_be_read_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        last_genotype(text)


@pytest.mark.parametrize(
    "frame",
    [
        "{text}\nopen('{path}', 'w')",
        "open('{path}', 'w') or {text}",
        "x = [open('{path}', 'w'), {text}]",
        "{text}",
    ],
)
def test_code_beside_a_genotype_is_never_run(tmp_path, frame):
    path = tmp_path / "ran"
    assert last_genotype(frame.format(path=path, text=LAST.format())) == (LAST, 1)
    trap = LAST.format().replace("range(2, 6)", f"open('{path}', 'w')", 1)
    with pytest.raises(ValueError, match="Nothing was run"):
        last_genotype(frame.format(path=path, text=trap))
    assert not path.exists()


def test_a_long_log_is_read_without_parsing_all_of_it():
    text = LOG.format(FIRST.format()) * 5_000 + LOG.format(LAST.format())
    assert len(text) > 1_000_000
    assert last_genotype(text) == (LAST, 5_001)


def test_python_code_with_escapes_raises_no_warning(recwarn):
    assert last_genotype(f'x = "\\d"\ny = {LAST.format()}') == (LAST, 1)
    assert not recwarn.list


def test_a_genotype_takes_nested_pairs_and_weights():
    assert Genotype(**fields(nested_with_weights)) == LAST
