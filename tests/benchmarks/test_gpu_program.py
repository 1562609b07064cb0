"""What is read off a program that was compiled for a GPU."""

import pathlib

import pytest

_FOLDER = pathlib.Path(__file__).parents[2] / "benchmarks" / "speed"
_PROGRAM = """HloModule jit_step, is_scheduled=true

%fused_computation.1 (p: f32[8]) -> f32[8] {
  %p = f32[8]{0} parameter(0)
  ROOT %copy.9 = f32[8]{0} copy(%p)
}

%region_0.2 (a: f32[], b: f32[]) -> f32[] {
  ROOT %add.1 = f32[] add(%a, %b)
}

ENTRY %main.3 (x: f32[8]) -> f32[8] {
  %x = f32[8]{0} parameter(0)
  %loop_fusion = f32[8]{0} fusion(%x), kind=kLoop, calls=%fused_computation.1
  %cudnn-conv.1 = (f32[8]{0}, u8[0]{0}) custom-call(%loop_fusion), custom_call_target="__cudnn$convForward"
  %copy.4 = f32[8]{0} copy(%x)
  %sort.1 = f32[8]{0} sort(%copy.4), dimensions={0}
  ROOT %call.2 = f32[8]{0} custom-call(%sort.1), custom_call_target="other"
}
"""


@pytest.fixture(name="gpu_program")
def _gpu_program(monkeypatch):
    monkeypatch.syspath_prepend(str(_FOLDER))
    import timing.gpu_program

    return timing.gpu_program


def test_launches_are_those_of_the_program_itself(gpu_program):
    found = gpu_program.launches(_PROGRAM)
    assert found == {"fusions": 1, "cuDNN calls": 1, "copy": 1, "sort": 1, "other calls": 1}


@pytest.mark.parametrize(("name", "major"), [("a100", 8), ("h100", 9)])
def test_a_description_has_what_the_compiler_asks_for(gpu_program, name, major):
    text = gpu_program.GPUS[name].target()
    assert f"major: {major} minor: 0" in text and f"memory_bandwidth: {gpu_program.GPUS[name].bandwidth}" in text
    assert text.count("{") == text.count("}")
