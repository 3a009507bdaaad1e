"""Tests of the published genotypes."""

import json

from egnas_jax.space import zoo


def test_the_zoo_holds_the_known_genotypes_unchanged(golden_file):
    known = json.loads(golden_file("genotypes.json").read_text())
    assert sorted(zoo) == sorted(known)
    for name, fields in known.items():
        entry = zoo[name]
        for field in ("normal", "normal_concat", "reduce", "reduce_concat"):
            value = json.loads(json.dumps(getattr(entry.genotype, field)))
            assert value == fields[field], (name, field)
        assert entry.params_cifar10 == fields["params_c10_C36_L20"]
        assert entry.params_cifar100 == fields["params_c100_C36_L20"]
        assert entry.params_imagenet == fields["params_imagenet_C48_L14"]


def test_every_entry_names_its_source_and_who_reports_its_results():
    assert len(zoo) == 48
    for name, entry in zoo.items():
        assert "/" in entry.source, name  # owner/repository
        assert not entry.published or entry.published["reported_by"], name


def test_published_errors_and_accuracies_are_fractions():
    assert zoo["DARTS_V2"].published["test_error_cifar10"] == 0.0276
    for entry in zoo.values():
        for metric, value in entry.published.items():
            if "error" in metric or "accuracy" in metric:
                assert 0 < value < 1, metric


def test_published_sizes_agree_with_the_exact_counts():
    names = [name for name in zoo if name.startswith("seed_l")]
    assert len(names) == 16
    for name in names:  # published in millions, truncated to two decimals
        truncated = zoo[name].params_cifar10 // 10_000 / 100
        assert zoo[name].published["params_millions"] == truncated, name


def test_cells_that_the_paper_does_not_publish_are_marked():
    assert "not published" in zoo["eg_nas_cifar10"].note
    assert "not published" in zoo["eg_nas_imagenet"].note
