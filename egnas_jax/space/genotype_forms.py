"""Finds where a text holds a written genotype, without reading it.

What counts is that pairs are visible: after a field's name, a call's bracket or a bar.
So prose such as "Saved Genotype (best) to x.json", numbers such as {"normal": 0.3} and
templates such as `Genotype(normal=[...], ...)` are no genotypes. One pass over the
text keeps the brackets that are open, because the name of a field is not always the
first thing after the bracket of the form that it belongs to.
"""

import html
import io
import re
import tokenize

from egnas_jax.space.genotype_text import MAX_CHARACTERS

# What opens a list of pairs or one pair, once.
OPENING = r"(?:(?:list|tuple|(?:np\.|numpy\.)?array)?[\[(]\s*)"
PAIRS = rf"{OPENING}{{2,}}(?:(?:np\.|numpy\.)?str_\(\s*)?[\"']"
EDGE = r"[A-Za-z_][\w.-]*~\d+\|"
GROUP = rf"\|(?:{EDGE}){{1,16}}"  # the limit keeps the search from being quadratic
REST = r"(?:[A-Za-z_][\w.-]*(?:~\d*)?)?"  # of a cell that was cut off within an edge
CELL = rf"{GROUP}(?:\s*\+\s*{GROUP})+{REST}|\|[A-Za-z_][\w.-]*~0\|"
NODES = r"\b(?:Cell)?Structure\s*\(\s*[\[(]"
PRIMITIVES = r"\bTopology\s*\(\s*(?:primitives\s*=\s*)?[\[(]"  # as Python prints it
BY_POSITION = rf"\b[Gg]enotype\s*(?=\(\s*{PAIRS})"
FIELD = (
    r"(?:[\"'](?:normal|reduce)[\"']\s*[:,]|\b(?:normal|reduce)\s*=)\s*"
    rf"(?={PAIRS})"
)
TOKENS = re.compile(
    rf"(?P<cell>{CELL})|(?P<call>(?={NODES}|{PRIMITIVES})\w+|{BY_POSITION})|"
    rf"(?P<field>{FIELD})|(?P<opening>[\[({{])|(?P<closing>[\])}}])"
)
CLOSES = {")": "(", "]": "[", "}": "{"}
TEMPLATE = re.compile(r"[=:,]\s*(?:[\[(]\s*)?(?:\.\.\.|…)|^\|op~")
# Forms whose fields hold no pairs: they are read only to say what is wrong with them.
INCOMPLETE = re.compile(
    r"\b[Gg]enotype\s*\(\s*(?:normal|reduce)(?:_concat)?\s*=|"
    r"\{\s*[\"'](?:normal|reduce)(?:_concat)?[\"']\s*:"
)
# In a text inside a text: \\" of JSON and Python, \\_ of Markdown.
ESCAPED = re.compile(r"(?<!\\)\\+([\"'_|n])")
DEPTH = 8  # brackets that may be open between a form and the name of its field


def text_pieces(text: str) -> list[str]:
    """The written genotypes of any text, in the order in which they begin.

    Only the last piece is cut at its end, because no other one is read.

    Raises:
      ValueError: the bracket of the last one is not closed.
    """
    text = _unescaped(text)
    starts = _starts(text)
    while starts:
        piece = _cut(text, starts[-1])
        if not TEMPLATE.search(piece):
            return [*(text[start : start + 1] for start in starts[:-1]), piece]
        starts.pop()
    return []


def last_span(text: str) -> slice | None:
    """Where the last written genotype of a text is; None for one that is cut off."""
    starts = _starts(text)
    try:
        length = len(_cut(text, starts[-1])) if starts else 0
    except ValueError:
        return None
    return slice(starts[-1], starts[-1] + length) if starts else None


def incomplete_pieces(text: str) -> list[str]:
    """Templates, and forms whose fields hold no pairs; the last one is cut.

    Raises:
      ValueError: the bracket of the last one is not closed.
    """
    text = _unescaped(text)
    starts = _starts(text) or [match.start() for match in INCOMPLETE.finditer(text)]
    return [_cut(text, starts[-1])] if starts else []


def is_template(piece: str) -> bool:
    """Whether `...` stands for a field of a written genotype, or `op` for a name."""
    return TEMPLATE.search(piece) is not None


def _unescaped(text: str) -> str:
    """The text as it was before a drawing, a report or a log escaped it."""
    return ESCAPED.sub(
        lambda match: "\n" if match[1] == "n" else match[1], html.unescape(text)
    )


def _starts(text: str) -> list[int]:
    """Where the written genotypes begin, each once."""
    starts, brackets = {}, []
    for match in TOKENS.finditer(text):
        match match.lastgroup:
            case "opening":
                brackets.append(match.start())
            case "closing":
                # Any other bracket belongs to a text, a smiley for instance.
                if brackets and text[brackets[-1]] == CLOSES[match.group()]:
                    brackets.pop()
            case "field":
                starts[_start_of_form(text, brackets, match)] = None
            case _:
                starts[match.start()] = None
    starts.pop(None, None)
    return sorted(starts)


def _start_of_form(text: str, brackets: list[int], match: re.Match) -> int | None:
    """Where the form begins that a field belongs to; None if it belongs to none."""
    separator = match.group().rstrip()[-1]
    before = _skip_spaces(text, match.start())
    previous = text[before - 1 : before]
    if separator == ",":  # [("normal", [...]), ...], the items of a dictionary
        is_item = len(brackets) > 1 and brackets[-1] == before - 1
        return brackets[-2] if is_item and text[brackets[-2]] in "[(" else None
    opening = "{" if separator == ":" else "("
    if previous not in (opening, ","):
        return None
    for bracket in reversed(brackets[-DEPTH:]):
        if text[bracket] == opening:
            return bracket if opening == "{" else _start_of_call(text, bracket)
    return None


def _start_of_call(text: str, bracket: int) -> int | None:
    """Where the name before a bracket begins; None if there is no name."""
    end = start = _skip_spaces(text, bracket)
    while start and (text[start - 1].isalnum() or text[start - 1] == "_"):
        start -= 1
    return start if text[start:end].isidentifier() else None


def _skip_spaces(text: str, end: int) -> int:
    """The end of what stands before a place, without the spaces between."""
    while end and text[end - 1].isspace():
        end -= 1
    return end


def _cut(text: str, start: int) -> str:
    cell = re.compile(CELL).match(text, start)
    return cell.group() if cell else _through_bracket(text[start:])


def _through_bracket(text: str) -> str:
    """The text up to the bracket that closes its first one.

    Raises:
      ValueError: the bracket is not closed.
    """
    text, depth = text[: MAX_CHARACTERS + 1], 0
    lines = text.split("\n")
    try:
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            is_closed = token.string in (")", "]", "}")
            depth += (token.string in ("(", "[", "{")) - is_closed
            if is_closed and depth == 0:
                row, column = token.end
                return "\n".join([*lines[: row - 1], lines[row - 1][:column]])
    except (tokenize.TokenError, SyntaxError):
        pass
    raise ValueError(
        f"The last genotype of the text is cut off: its bracket is not closed within "
        f"{MAX_CHARACTERS} characters, {' '.join(text.split())[:80]!r}. Give a whole "
        f"genotype."
    )
