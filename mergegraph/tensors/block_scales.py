"""Float8 matrices that lie beside a matrix of scales, one for each block: `X` and `X_scale_inv`, as DeepSeek stores.

Says which matrices are so and folds the scales into them; what has scales in another form stays refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

from mergegraph.tensors.header import StoredTensor
from mergegraph.views import BlockScale

SUFFIX = "_scale_inv"
_USUAL = (128, 128)


def scaled_in_blocks(tensors: Mapping[str, StoredTensor], config: Mapping[str, Any]) -> dict[str, StoredTensor] | None:
    """The tensors with each scale put to its matrix and no longer by itself; None where one does not fit, or there
    are none."""
    block, method = _block(config), _settings(config).get("quant_method", "fp8")
    if method != "fp8" or not any(name.endswith(SUFFIX) for name in tensors):
        return None
    folded: dict[str, StoredTensor] = {}
    for name, tensor in tensors.items():
        scales = tensors.get(f"{name}{SUFFIX}")
        if name.endswith(SUFFIX):
            if name.removesuffix(SUFFIX) not in tensors:
                return None
        elif scales is None:
            folded[name] = tensor
        elif (scale := _scale(tensor, scales, block)) is None:
            return None
        else:
            folded[name] = replace(tensor, scale=scale)
    return folded


def unquantised(config: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a checkpoint whose scales were folded in: nothing of it is quantised any more."""
    return {
        key: unquantised(cast("dict[str, Any]", value)) if isinstance(value, dict) else value
        for key, value in config.items()
        if key != "quantization_config"
    }


def _block(config: Mapping[str, Any]) -> tuple[int, int]:
    block: Any = _settings(config).get("weight_block_size")
    if isinstance(block, list) and len(block) == 2 and all(type(side) is int and side > 0 for side in block):  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        return block[0], block[1]  # pyright: ignore[reportUnknownVariableType]
    return _USUAL


def _settings(config: Mapping[str, Any]) -> Mapping[str, Any]:
    settings: Any = config.get("quantization_config")
    return cast("dict[str, Any]", settings) if isinstance(settings, dict) else {}


def _scale(tensor: StoredTensor, scales: StoredTensor, block: tuple[int, int]) -> BlockScale | None:
    fits = (
        tensor.dtype.code in ("F8_E4M3", "F8_E5M2")
        and scales.dtype.code in ("F32", "BF16", "F16")
        and len(tensor.shape) == len(scales.shape) == 2
        and scales.shape == (-(-tensor.shape[0] // block[0]), -(-tensor.shape[1] // block[1]))
    )
    if not fits:
        return None
    return BlockScale(scales.path, scales.dtype.code, scales.offset, (scales.shape[0], scales.shape[1]), block)
