"""Every `egnas` command that a document shows is one that the parser accepts."""

import pathlib
import re
import shlex

import pytest

from egnas_jax.cli.main import _parser, main

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = ("README.md", "docs/*.md", "experiments/README.md", "benchmarks/README.md")
FENCE = re.compile(r"^```[a-z ]*\n(.*?)^```", re.M | re.S)
BEFORE = r"(?:[A-Z_]+=\S+ |exec |srun |mpirun -n \d+ )*"  # what may start a command
COMMAND = re.compile(rf"^\s*{BEFORE}egnas (.+)$")
FORM = re.compile(r"[\[\]|]|\.\.\.")  # a syntax with alternatives is no command


def commands(text: str) -> list[str]:
    """The commands of the fenced blocks of a page, without `egnas`.

    A backslash at the end of a line continues a command.
    """
    blocks = [block.replace("\\\n", " ") for block in FENCE.findall(text)]
    lines = [line for block in blocks for line in block.splitlines()]
    found = [match[1] for line in lines if (match := COMMAND.match(line))]
    return [command for command in found if not FORM.search(command)]


def shown() -> dict[str, str]:
    """Command -> the page that shows it first."""
    found: dict[str, str] = {}
    for pattern in PAGES:
        for page in sorted(ROOT.glob(pattern)):
            for command in commands(page.read_text()):
                found.setdefault(command, page.name)
    return found


def test_commands_are_found_in_fences_alone():
    text = "egnas no\n```\nA=1 srun egnas derive RUN  # why\negnas x [--y]\n```\n"
    assert commands(text) == ["derive RUN  # why"]
    assert commands("```\negnas a \\\n  --b\n```\n") == ["a    --b"]
    assert len(shown()) > 45


@pytest.mark.parametrize("command", shown())
def test_the_parser_accepts_what_a_page_shows(command, capsys):
    try:
        options = _parser().parse_args(shlex.split(command, comments=True))
    except SystemExit as error:
        if error.code != 0:  # --help ends with 0
            pytest.fail(f"{shown()[command]}: {capsys.readouterr().err}")
    else:
        assert callable(options.command)


def configured() -> list[str]:
    """Single searches and retrainings that need no run, plug-in or own file."""
    several = ("--batched", "--sweep")  # their configurations are not printed
    needs = ("--plugin", "--restore", "runs/", "mine.npz", *several)
    return [
        command
        for command in shown()
        if command.startswith(("search", "retrain --genotype DARTS"))
        and not any(word in command.replace("--out runs/", "") for word in needs)
    ]


@pytest.mark.parametrize("command", configured())
def test_names_and_settings_of_a_shown_search_are_known(command, capsys):
    words = shlex.split(command, comments=True)
    assert main([*words, "--print-config"]) == 0, capsys.readouterr().err
