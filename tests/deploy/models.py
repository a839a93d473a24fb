"""Small modules, and the artifacts made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tvm
from tvm import ir, relax

from hago.deploy.artifact import write_artifact
from hago.deploy.manifest import Machine, Manifest
from hago.lower.linker import link_shared
from hago.sample import TensorSpec

IMAGE, IDS = TensorSpec("image", (1, 4), "float32"), TensorSpec("ids", (1, 3), "int64")
SCALED, COUNTED = TensorSpec("scaled", (1, 4), "float32"), TensorSpec("counted", (1, 3), "int64")


def two_headed(scale: float = 2.0) -> ir.IRModule:
    """``(scale * image, ids + 1)``."""
    image = relax.Var("image", relax.TensorType(IMAGE.shape, IMAGE.dtype))
    ids = relax.Var("ids", relax.TensorType(IDS.shape, IDS.dtype))
    builder = relax.BlockBuilder()
    with builder.function("main", [image, ids]):
        with builder.dataflow():
            scaled = relax.op.multiply(image, relax.const(np.float32(scale)))
            counted = relax.op.add(ids, relax.const(1, "int64"))
            results = [builder.emit_output(scaled), builder.emit_output(counted)]
        builder.emit_func_output(relax.Tuple(results))
    return builder.get()


def manifest_of(features: tuple[str, ...] = ()) -> Manifest:
    machine = Machine("toy", "0" * 64, features)
    return Manifest("model.onnx", "int8", (IMAGE, IDS), (SCALED, COUNTED), machine)


def write_two_headed(
    folder: Path, scale: float = 2.0, features: tuple[str, ...] = (), *, compressed: bool = False
) -> Path:
    """The artifact of :func:`two_headed`, through TVM's own pipeline."""
    executable = relax.build(two_headed(scale), tvm.target.Target({"kind": "llvm"}))

    def export(path: Path) -> None:
        executable.export_library(str(path), fcompile=link_shared)

    return write_artifact(folder, export, manifest_of(features), compressed=compressed)
