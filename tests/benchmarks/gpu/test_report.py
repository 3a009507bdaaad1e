"""The report of a campaign, from a memory made by hand."""

import pytest

from benchmarks.gpu import memory, report
from benchmarks.gpu.jobs import jobs_of
from benchmarks.gpu.memory import DONE, FAILED, STOPPED, Memory
from benchmarks.gpu.sizes import full_size

LIMITS = {
    "bytes_per_s": 2e12,
    "float32": 50e12,
    "default": 400e12,
    "bfloat16": 800e12,
    "seconds_per_kernel": 2e-6,
}
AMP = dict(amp=True, channels_last=False)
LAST = dict(amp=True, channels_last=True)
TF32 = dict(amp=False, channels_last=True)
MACHINE = {"device": "A CARD", "jax": "0.11.2", "python": "3.12.3"}


def row(program, **changes):
    values = {
        "program": program,
        "seconds": 0.05,
        "images_per_s": 128_000.0,
        "compile_s": 61.0,
        "program_bytes": 4.2e9,
        "multiply_adds": 2_000_000_000_000,
        "bytes": 35_000_000_000,
        "origin": "compiled here",
        "beside": 3,
        "parity": {},
    }
    return values | changes


def known(**results):
    """A memory in which these jobs are done."""
    found = Memory(MACHINE, "full", {})
    for name, entries in results.items():
        found = memory.begin(found, name)
        for key, result in entries.items():
            found = memory.with_result(found, name, key, result)
        found = memory.end(found, name, DONE, "", 1.0)
    return found


def text_of(found):
    return report.report(found, jobs_of(full_size()))


def test_an_empty_memory_lists_every_job_as_left():
    text = text_of(Memory({}, "full", {}))
    assert text.startswith("Nothing has been measured yet.")
    assert text.count("- left: ") == len(jobs_of(full_size()))


def test_a_row_has_its_shares_of_the_limits_and_the_ratio_to_torch():
    memory_of_rows = known(
        **{
            "speed: limits": {"limits": LIMITS},
            "speed: population-running, bfloat16": {"row": row("population-running")},
            "torch: AMP in bfloat16": {
                "population-running": {"images_per_s": 6_400.0, "setting": AMP},
            },
            "torch: AMP in bfloat16, channels_last": {
                "population-running": {"images_per_s": 3_200.0, "setting": LAST},
            },
        }
    )
    text = text_of(memory_of_rows)
    assert text.startswith("A CARD, jax 0.11.2, Python 3.12.3\n")
    # 35 GB in 50 ms of 2 TB/s; 4 TFLOP in 50 ms of 800 TFLOP/s; 128,000 / 6,400
    assert (
        "| speed | population-running, bfloat16 | 50 | 128000 | 35.0 % | 10.0 % | 20.0 "
        "| 61 | 4.20 | 3 | A CARD, 20"
    ) in text
    assert "2000 GB/s copied" in text and "2.0 us per kernel" in text


@pytest.mark.parametrize(
    "device, rate, said",
    [
        ("NVIDIA H100 80GB HBM3", 300e12, "30 % of the 989 TFLOP/s of the data sheet"),
        ("NVIDIA H100 80GB HBM3", 600e12, None),
        ("A CARD", 300e12, None),
    ],
)
def test_limits_far_below_the_data_sheet_of_a_known_card_are_named(device, rate, said):
    memory_of_rows = known(**{"speed: limits": {"limits": LIMITS | {"bfloat16": rate}}})
    text = text_of(memory_of_rows._replace(machine=MACHINE | {"device": device}))
    assert "Limits of this device, with autotuning: 2000 GB/s" in text
    assert ("LOW LIMIT" in text) == (said is not None) and (said or "") in text


def test_a_program_that_was_carried_is_marked():
    carried = row("weight-step", origin="compiled beforehand", bytes=None)
    text = text_of(known(**{"speed: weight-step, bfloat16": {"row": carried}}))
    assert "| speed | weight-step, bfloat16 | 50 | 128000 | - | - | - | 61* |" in text
    assert "\n\n* loaded, having been compiled beforehand.\n" in text
    compiled = known(**{"speed: weight-step, bfloat16": {"row": row("weight-step")}})
    assert "compiled beforehand" not in text_of(compiled)  # nothing has a star


def test_the_cost_of_determinism_and_of_autotuning_is_a_ratio_to_the_plain_row():
    flagged = {
        "deterministic: weight-step, bfloat16": row("weight-step", seconds=0.06),
        "autotuning: weight-step, bfloat16": row(
            "weight-step", seconds=0.04, compile_s=183.0
        ),
    }
    results = {name: {"row": entry} for name, entry in flagged.items()}
    assert "the plain row" not in text_of(known(**results))
    plain = {"speed: weight-step, bfloat16": {"row": row("weight-step")}}
    lines = text_of(known(**plain, **results)).splitlines()
    what = "weight-step, bfloat16"
    for line in (
        f"- deterministic: {what}: 1.20 times the seconds of the plain row, "
        f"1.0 times its compilation",
        f"- autotuning: {what}: 0.80 times the seconds of the plain row, "
        f"3.0 times its compilation",
    ):
        assert line in lines
    cached = row("weight-step", from_cache=True)
    cached = {"speed: weight-step, bfloat16": {"row": cached}}
    assert "times its compilation" not in text_of(known(**cached, **results))


def test_seconds_of_a_program_that_came_from_the_cache_are_marked():
    cached = row("weight-step", compile_s=2.2, from_cache=True)
    epoch = {
        "precision": "bfloat16",
        "images": "synthetic",
        "compile_s": 3.0,
        "whole_search_epochs": 50,
        "from_cache": 2,
        "beforehand": 1,
    }
    parts = ("seconds", "weights_and_host", "evolve", "validate", "whole_search")
    text = text_of(
        known(
            **{
                "speed: weight-step, bfloat16": {"row": cached},
                "epoch: an epoch": {"epoch": epoch | dict.fromkeys(parts, 1.0)},
            }
        )
    )
    assert "| - | 2 (from the cache) | 4.20 |" in text
    assert "An epoch of the default search, without autotuning, in bfloat16" in text
    counted = "(1 programs compiled beforehand, 2 programs from the cache)"
    assert f"3 s of compilation {counted}." in text


def test_rows_are_compared_with_torch_in_their_precision_or_not_at_all():
    """Torch has TF32 and AMP, and no products of all the bits of float32."""
    program = "weight-step"
    memory_of_rows = known(
        **{
            f"{stage}: {program}, {precision}": {"row": row(program)}
            for stage, precision in (
                ("speed", "bfloat16"),
                ("float32", "default"),
                ("float32", "float32"),
            )
        },
        **{
            "torch: AMP": {
                program: {"images_per_s": 8_000.0, "setting": LAST, "beside": 7}
            },
            "torch: TF32": {program: {"images_per_s": 2_000.0, "setting": TF32}},
        },
    )
    ratios = {
        line.split("|")[2].split(",")[1].strip(): line.split("|")[7].strip()
        for line in text_of(memory_of_rows).splitlines()
        if line.startswith(("| speed", "| float32"))
    }
    assert ratios == {"bfloat16": "16.0", "default": "64.0", "float32": "-"}
    assert (
        "- torch, weight-step, bfloat16: 8000 images/s (AMP in bfloat16, "
        "channels_last; 7 compiling beside it)" in text_of(memory_of_rows)
    )
    assert "default: 2000 images/s (float32, channels_last)" in text_of(memory_of_rows)


def test_small_networks_of_the_parity_stage_are_not_compared_with_torchs_speed():
    memory_of_rows = known(
        **{
            "parity: weight-step, float32": {
                "row": row("weight-step", parity={"loss": 1.5e-7, "gradient": 2e-6})
            },
            "torch: float32, channels_last": {
                "weight-step": {"images_per_s": 1.0, "setting": TF32}
            },
        }
    )
    text = text_of(memory_of_rows)
    assert "| parity | weight-step, float32 | 50 | 128000 | - | - | - | 61 |" in text
    assert "| parity: weight-step, float32 | loss 1.5e-07, gradient 2e-06 |" in text


def test_a_row_whose_result_is_wrong_is_marked_and_says_what_is():
    bad = row("weight-step", wrong=["loss nan (at most 0.05)"])
    text = text_of(known(**{"speed: weight-step, bfloat16": {"row": bad}}))
    assert "| speed | WRONG: weight-step, bfloat16 | 50 |" in text
    assert "- WRONG: speed: weight-step, bfloat16: loss nan (at most 0.05)" in text


def test_lowerings_of_one_cell_stand_beside_auto():
    signatures = {"auto": [4.0, 1.0], "fused": [4.0, 1.1]}
    seconds = {"auto": 0.012, "fused": 0.009}
    cells = {
        f"lowering: cell-running-in-{name}, bfloat16": {
            "row": row(
                f"cell-running-in-{name}",
                seconds=seconds[name],
                signature={"": signature},
                multiply_adds=None,
            )
        }
        for name, signature in signatures.items()
    }
    alone = "lowering: cell-step-in-dense, bfloat16"
    cells[alone] = {"row": row("cell-step-in-dense", signature={"": None})}
    text = text_of(known(**cells))
    assert "| cell-running, bfloat16 | auto | 12 | - | - |" in text
    # 12 ms over 9 ms; 0.1 of a norm of 4
    assert "| cell-running, bfloat16 | fused | 9 | 1.33 | 2.5 % |" in text
    assert "| cell-step, bfloat16 | dense | 50 | - | - |" in text  # no `auto` yet


@pytest.mark.parametrize("alone_first", [True, False])
def test_searches_together_are_compared_with_one(alone_first):
    rates = {"train-of-1": 1_000.0, "train-of-4": 3_000.0, "evolve-of-4": 5.0}
    order = sorted(rates, reverse=not alone_first)
    memory_of_rows = known(
        **{
            f"together: {program}, bfloat16": {
                "row": row(program, images_per_s=rates[program])
            }
            for program in order
        }
    )
    text = text_of(memory_of_rows)
    assert "- 4 searches, train: 3.00 times as fast" in text
    assert "searches, evolve" not in text  # one search alone was not measured


def test_explorations_together_say_how_many_individuals_go_through_at_a_time():
    memory_of_rows = known(
        **{
            f"together: evolve-of-{count}, bfloat16": {
                "row": row(
                    f"evolve-of-{count}",
                    images_per_s=rate,
                    individuals_at_a_time=chunk,
                )
            }
            for count, rate, chunk in ((1, 100.0, 51), (16, 40.0, 26))
        }
    )
    line = "- 16 searches, evolve (26 individuals at a time, alone 51): 0.40 times as"
    assert line in text_of(memory_of_rows)


def test_a_search_stands_beside_the_report_and_says_how_far_it_is():
    search = {
        "epochs": 20,
        "of": 50,
        "valid_accuracy": 0.7312,
        "seconds": 150.0,
        "curve": [],
        "genotype": "",
    }
    text = text_of(known(**{"search: paper": {"search": search}}))
    assert (
        "- search: paper: 20 of 50 epochs, validation accuracy 73.12 %, 2.5 minutes"
        in text
    )
    assert "The report: 84.09 % and 115 minutes." in text
    assert "Without autotuning, which `egnas search` and `egnas retrain` leave" in text


def test_resumed_runs_with_other_digests_are_named():
    entry = {"flags": "--flag", "resumed_equal": False, "verified": True}
    memory_of_rows = known(**{"deterministic: resume and verify": {"resume": entry}})
    assert "(--flag): resumed WITH OTHER DIGESTS, verified" in text_of(memory_of_rows)


def test_results_that_were_nan_are_printed_as_nan():
    """NaN is null in the file of results."""
    error = {"loss": None, "tau": None}
    search = {"epochs": 1, "of": 50, "valid_accuracy": None, "seconds": 1.0}
    alone, four = (row(f"train-of-{n}", images_per_s=None) for n in (1, 4))
    no_rate = {"images_per_s": None, "setting": TF32}
    text = text_of(
        known(
            **{
                "parity: weight-step, float32": {
                    "row": row("weight-step", parity=error, seconds=None)
                },
                "speed: weight-step, bfloat16": {
                    "row": row("weight-step", images_per_s=None, bytes=None)
                },
                "torch: float32, channels_last": {"weight-step": no_rate},
                "search: paper": {"search": search},
                "together: train-of-1, bfloat16": {"row": alone},
                "together: train-of-4, bfloat16": {"row": four},
            }
        )
    )
    assert "| parity: weight-step, float32 | loss nan, tau nan |" in text
    assert "| parity | weight-step, float32 | nan | 128000 | - | - | - |" in text
    assert "| speed | weight-step, bfloat16 | 50 | nan | - | - | - |" in text
    assert "validation accuracy nan %" in text
    assert "- 4 searches, train: nan times as fast" in text


def test_results_of_another_source_are_named_as_such():
    first = "parity: weight-step, float32"
    memory_of_rows = known(**{first: {"row": row("weight-step")}})
    memory_of_rows = memory_of_rows._replace(machine={**MACHINE, "source": "b" * 64})
    name = "speed: weight-step, bfloat16"
    memory_of_rows = memory.with_result(
        memory.begin(memory_of_rows, name), name, "a", {**row("a")}
    )
    memory_of_rows = memory_of_rows._replace(machine={**MACHINE, "source": "c" * 64})
    memory_of_rows = memory.with_result(memory_of_rows, name, "new", {**row("a")})
    text = text_of(memory_of_rows)
    assert "source cccccccccccc" in text.splitlines()[0]
    others = [line for line in text.splitlines() if "OTHER SOURCE" in line]
    assert others == [
        f"- OTHER SOURCE (unknown): {first}: row",
        f"- OTHER SOURCE (bbbbbbbbbbbb): {name}: a",
    ]


def test_a_row_without_a_date_has_none():
    memory_of_rows = known(
        **{"speed: weight-step, bfloat16": {"row": row("weight-step")}}
    )
    del memory_of_rows.jobs["speed: weight-step, bfloat16"]["made"]
    assert "| 3 | A CARD, - |" in text_of(memory_of_rows)


def test_what_failed_and_what_was_stopped_is_named_with_its_reason():
    found = memory.begin(Memory(MACHINE, "full", {}), "epoch: an epoch")
    found = memory.end(found, "epoch: an epoch", FAILED, "out of memory", 1.0)
    found = memory.begin(found, "search: paper")
    found = memory.end(found, "search: paper", STOPPED, "3 of 50 epochs are done", 9.0)
    text = text_of(found)
    assert "- failed: epoch: an epoch: out of memory" in text
    assert "- stopped: search: paper: 3 of 50 epochs are done" in text
    assert "- left: speed: limits: not begun" in text
