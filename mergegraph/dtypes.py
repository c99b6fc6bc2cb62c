"""The dtypes a checkpoint may hold: their names in safetensors, in torch and in a recipe, and their width.

Knows nothing of torch; `torch_name` is the attribute of the torch module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["float", "integer", "bool", "complex", "opaque"]


@dataclass(frozen=True, slots=True)
class DType:
    """One dtype. `code` is safetensors' name, `bits` the width of an element, `family` what may be done with it.

    "float" is computed on; "integer", "bool" and "complex" are copied; "opaque" (packed or scale-only
    formats) has no arithmetic anywhere and is copied whole.
    """

    code: str
    bits: int
    torch_name: str
    family: Family

    @property
    def itemsize(self) -> int:
        """Bytes of one element; only for dtypes of whole bytes."""
        assert self.bits % 8 == 0, self.code
        return self.bits // 8

    @property
    def is_float(self) -> bool:
        return self.family == "float"


_TABLE = (
    DType("F64", 64, "float64", "float"),
    DType("F32", 32, "float32", "float"),
    DType("BF16", 16, "bfloat16", "float"),
    DType("F16", 16, "float16", "float"),
    DType("F8_E4M3", 8, "float8_e4m3fn", "float"),
    DType("F8_E5M2", 8, "float8_e5m2", "float"),
    DType("F8_E8M0", 8, "float8_e8m0fnu", "opaque"),
    DType("F8_E4M3FNUZ", 8, "float8_e4m3fnuz", "opaque"),
    DType("F8_E5M2FNUZ", 8, "float8_e5m2fnuz", "opaque"),
    DType("F6_E2M3", 6, "", "opaque"),
    DType("F6_E3M2", 6, "", "opaque"),
    DType("F4", 4, "float4_e2m1fn_x2", "opaque"),
    DType("I64", 64, "int64", "integer"),
    DType("U64", 64, "uint64", "integer"),
    DType("I32", 32, "int32", "integer"),
    DType("U32", 32, "uint32", "integer"),
    DType("I16", 16, "int16", "integer"),
    DType("U16", 16, "uint16", "integer"),
    DType("I8", 8, "int8", "integer"),
    DType("U8", 8, "uint8", "integer"),
    DType("BOOL", 8, "bool", "bool"),
    DType("C64", 64, "complex64", "complex"),
)

BY_CODE = {dtype.code: dtype for dtype in _TABLE}

SHORT_NAMES = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32", "fp64": "float64"}

_BY_NAME = {dtype.torch_name: dtype for dtype in _TABLE if dtype.torch_name} | {
    short: next(dtype for dtype in _TABLE if dtype.torch_name == name) for short, name in SHORT_NAMES.items()
}

SAVE_NAMES = tuple(name for name, dtype in _BY_NAME.items() if dtype.is_float)


def by_name(name: str) -> DType:
    """The dtype a recipe means by `bfloat16`, `bf16`, `float32` …; KeyError when there is none."""
    return _BY_NAME[name]
