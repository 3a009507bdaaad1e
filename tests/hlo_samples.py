"""Short programs in optimised HLO, small enough to count by hand."""

# A fusion of one addition over 4 x 8 numbers, in the loops of 3 and of 5 turns.
LOOPS = """\
HloModule jit_f, is_scheduled=true

%double (p.0: f32[4,8]) -> f32[4,8] {
  %p.0 = f32[4,8]{1,0} parameter(0)
  ROOT %sum = f32[4,8]{1,0} add(%p.0, %p.0)
}

%inner_body (inner: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %inner = (s32[], f32[4,8]{1,0}) parameter(0)
  %i = s32[] get-tuple-element(%inner), index=0
  %x = f32[4,8]{1,0} get-tuple-element(%inner), index=1
  %y = f32[4,8]{1,0} fusion(%x), kind=kLoop, calls=%double, \
metadata={op_name="jit(f)/while/body/add"}
  ROOT %next = (s32[], f32[4,8]{1,0}) tuple(%i, %y)
}

%outer_body (outer: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %outer = (s32[], f32[4,8]{1,0}) parameter(0)
  ROOT %nested = (s32[], /*index=1*/f32[4,8]{1,0}) while(%outer), \
condition=%unused, body=%inner_body, \
backend_config={"known_trip_count":{"n":"5"},"known_init_step":{"init":"0"}}
}

%unused (c: (s32[], f32[4,8])) -> pred[] {
  %c = (s32[], f32[4,8]{1,0}) parameter(0)
  %k = s32[] get-tuple-element(%c), index=0
  ROOT %more = pred[] compare(%k, %k), direction=LT
}

ENTRY %main (x.1: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %x.1 = (s32[], f32[4,8]{1,0}) parameter(0)
  ROOT %loop = (s32[], f32[4,8]{1,0}) while(%x.1), condition=%unused, \
body=%outer_body, backend_config={"known_trip_count":{"n":"3"}}
}
"""
# The outer loop's turns are an argument, so XLA does not state them.
UNKNOWN_LOOP = LOOPS.replace(', backend_config={"known_trip_count":{"n":"3"}}', "")

# A branch of one kernel and one of two, then a called computation of one.
BRANCHES = """\
HloModule jit_g

%add (p.0: f32[8]) -> f32[8] {
  %p.0 = f32[8]{0} parameter(0)
  ROOT %sum = f32[8]{0} add(%p.0, %p.0)
}

%once (a: f32[8]) -> f32[8] {
  %a = f32[8]{0} parameter(0)
  ROOT %a.1 = f32[8]{0} fusion(%a), kind=kLoop, calls=%add
}

%twice (b: f32[8]) -> f32[8] {
  %b = f32[8]{0} parameter(0)
  %b.1 = f32[8]{0} fusion(%b), kind=kLoop, calls=%add
  ROOT %b.2 = f32[8]{0} fusion(%b.1), kind=kLoop, calls=%add
}

%called (g: f32[8]) -> f32[8] {
  %g = f32[8]{0} parameter(0)
  ROOT %g.1 = f32[8]{0} fusion(%g), kind=kLoop, calls=%add
}

ENTRY %main (i: s32[], x: f32[8]) -> f32[8] {
  %i = s32[] parameter(0)
  %x = f32[8]{0} parameter(1)
  %chosen = f32[8]{0} conditional(%i, %x, %x), branch_computations={%once, %twice}
  ROOT %out = f32[8]{0} call(%chosen), to_apply=%called
}
"""


def branches_in_a_loop(turns: int) -> str:
    """Writes `BRANCHES` as the body of a loop."""
    loop = f"""\
ENTRY %begin (y: f32[8]) -> f32[8] {{
  %y = f32[8]{{0}} parameter(0)
  ROOT %z = f32[8]{{0}} while(%y), condition=%once, body=%main, \
backend_config={{"known_trip_count":{{"n":"{turns}"}}}}
}}
"""
    return BRANCHES.replace("ENTRY %main", "%main") + "\n" + loop


def entry(result: str, *lines: str, inner: str = "") -> str:
    """Writes a program whose entry computation has these instructions."""
    body = "\n".join(f"  {line}" for line in lines)
    return f"HloModule m\n\n{inner}\nENTRY %main () -> {result} {{\n{body}\n}}\n"


def fusion(*lines: str, operands: str, result: str, attributes: str = "") -> str:
    """Writes a program of one fusion; `lines` are what it computes."""
    inner = (
        "%fused () -> f32[] {\n" + "\n".join(f"  {line}" for line in lines) + "\n}\n"
    )
    names = [part.split(" = ")[0] for part in operands.split("; ")]
    call = f"ROOT %out = {result} fusion({', '.join(names)}), kind=kLoop, calls=%fused"
    return entry(result, *operands.split("; "), call + attributes, inner=inner)
