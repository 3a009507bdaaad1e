"""The published genotypes."""

import json

from egnas_jax.space import zoo


def test_the_zoo_holds_the_known_genotypes_unchanged(golden_file):
    known = json.loads(golden_file("genotypes.json").read_text())
    assert sorted(zoo) == sorted(known)
    for name, fields in known.items():
        entry = zoo[name]
        for field in ("normal", "normal_concat", "reduce", "reduce_concat"):
            found = json.loads(json.dumps(getattr(entry.genotype, field)))
            assert found == fields[field], (name, field)
        assert entry.params_cifar10 == fields["params_c10_C36_L20"]
        assert entry.params_cifar100 == fields["params_c100_C36_L20"]
        assert entry.params_imagenet == fields["params_imagenet_C48_L14"]


def test_every_entry_names_its_source_and_who_reports_its_figures():
    assert len(zoo) == 48
    for name, entry in zoo.items():
        assert "/" in entry.source, name  # owner/repository
        assert not entry.published or entry.published["reported_by"], name


def test_published_errors_and_accuracies_are_fractions():
    assert zoo["DARTS_V2"].published["test_error_cifar10"] == 0.0276
    for entry in zoo.values():
        for figure, value in entry.published.items():
            if "error" in figure or "accuracy" in figure:
                assert 0 < value < 1, figure


def test_published_sizes_of_the_same_frame_agree_with_the_exact_counts():
    seeds = [name for name in zoo if name.startswith("seed_l")]
    assert len(seeds) == 16
    for name in seeds:  # cut, not rounded, to two decimals of a million
        cut = zoo[name].params_cifar10 // 10_000 / 100
        assert zoo[name].published["params_millions"] == cut, name


def test_the_cells_that_are_not_the_papers_say_so():
    assert "not published" in zoo["eg_nas_cifar10"].note
    assert "not published" in zoo["eg_nas_imagenet"].note
