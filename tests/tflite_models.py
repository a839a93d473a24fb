"""Small TensorFlow Lite files for tests, written with the schema's own builder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite

_TYPES = {"float32": 0, "int32": 2, "int64": 4, "int8": 9}  # TensorType of schema.fbs


@dataclass(frozen=True)
class Quantization:
    """Of a tensor, or of each slice along ``axis``."""

    scales: Sequence[float]
    zero_points: Sequence[int]
    axis: int = 0


@dataclass
class File:
    """A model under construction: tensors by number, operators in order."""

    builder: flatbuffers.Builder = field(default_factory=lambda: flatbuffers.Builder(1024))
    buffers: list[bytes] = field(default_factory=lambda: [b""])
    tensors: list[int] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    operators: list[int] = field(default_factory=list)

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str = "float32",
        value: Any = None,
        quantization: Quantization | None = None,
    ) -> int:
        """A new tensor; ``value`` makes it a constant."""
        content = b"" if value is None else np.asarray(value, dtype).tobytes()
        buffer = len(self.buffers) if content else 0
        self.buffers += [content] if content else []
        label = self.builder.CreateString(name)
        extents = self.builder.CreateNumpyVector(np.asarray(shape, np.int32))
        numbers = self._numbers(quantization) if quantization else None
        tflite.TensorStart(self.builder)
        tflite.TensorAddName(self.builder, label)
        tflite.TensorAddShape(self.builder, extents)
        tflite.TensorAddType(self.builder, _TYPES[dtype])
        tflite.TensorAddBuffer(self.builder, buffer)
        if numbers is not None:
            tflite.TensorAddQuantization(self.builder, numbers)
        self.tensors.append(tflite.TensorEnd(self.builder))
        return len(self.tensors) - 1

    def _numbers(self, quantization: Quantization) -> int:
        scales = self.builder.CreateNumpyVector(np.asarray(quantization.scales, np.float32))
        zeros = self.builder.CreateNumpyVector(np.asarray(quantization.zero_points, np.int64))
        tflite.QuantizationParametersStart(self.builder)
        tflite.QuantizationParametersAddScale(self.builder, scales)
        tflite.QuantizationParametersAddZeroPoint(self.builder, zeros)
        tflite.QuantizationParametersAddQuantizedDimension(self.builder, quantization.axis)
        return tflite.QuantizationParametersEnd(self.builder)

    def operator(
        self, name: str, inputs: Sequence[int], outputs: Sequence[int], **options: int
    ) -> None:
        """``options`` are the fields of the operator's own table, such as StrideH=1."""
        self.codes.append(getattr(tflite.BuiltinOperator, name))
        reads = self.builder.CreateNumpyVector(np.asarray(inputs, np.int32))
        makes = self.builder.CreateNumpyVector(np.asarray(outputs, np.int32))
        table = _TABLES.get(name)
        made = self._options(table, options) if table else None
        tflite.OperatorStart(self.builder)
        tflite.OperatorAddOpcodeIndex(self.builder, len(self.codes) - 1)
        tflite.OperatorAddInputs(self.builder, reads)
        tflite.OperatorAddOutputs(self.builder, makes)
        if table and made is not None:
            kind = getattr(tflite.BuiltinOptions, table)
            tflite.OperatorAddBuiltinOptionsType(self.builder, kind)
            tflite.OperatorAddBuiltinOptions(self.builder, made)
        self.operators.append(tflite.OperatorEnd(self.builder))

    def _options(self, table: str, options: dict[str, int]) -> int:
        getattr(tflite, f"{table}Start")(self.builder)
        for name, value in options.items():
            getattr(tflite, f"{table}Add{name}")(self.builder, value)
        made: int = getattr(tflite, f"{table}End")(self.builder)
        return made

    def content(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The file's bytes."""
        builder = self.builder
        buffers = [self._buffer(content) for content in self.buffers]
        codes = [self._code(code) for code in self.codes]
        parts = {
            "Tensors": self._vector(self.tensors),
            "Inputs": builder.CreateNumpyVector(np.asarray(inputs, np.int32)),
            "Outputs": builder.CreateNumpyVector(np.asarray(outputs, np.int32)),
            "Operators": self._vector(self.operators),
        }
        graph = self._table("SubGraph", parts)
        model = {
            "OperatorCodes": self._vector(codes),
            "Subgraphs": self._vector([graph]),
            "Buffers": self._vector(buffers),
        }
        builder.Finish(self._table("Model", {"Version": 3, **model}), b"TFL3")
        return bytes(builder.Output())

    def _buffer(self, content: bytes) -> int:
        data = self.builder.CreateByteVector(content) if content else None
        tflite.BufferStart(self.builder)
        if data is not None:
            tflite.BufferAddData(self.builder, data)
        return int(tflite.BufferEnd(self.builder))

    def _code(self, code: int) -> int:
        fields = {"DeprecatedBuiltinCode": min(code, 127), "BuiltinCode": code, "Version": 1}
        return self._table("OperatorCode", fields)

    def _table(self, name: str, fields: dict[str, int]) -> int:
        getattr(tflite, f"{name}Start")(self.builder)
        for key, value in fields.items():
            getattr(tflite, f"{name}Add{key}")(self.builder, value)
        return int(getattr(tflite, f"{name}End")(self.builder))

    def _vector(self, offsets: Sequence[int]) -> int:
        self.builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self.builder.PrependUOffsetTRelative(offset)
        return int(self.builder.EndVector())


_TABLES = {
    "ADD": "AddOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "RESHAPE": "ReshapeOptions",
    "SHAPE": "ShapeOptions",
    "SOFTMAX": "SoftmaxOptions",
}
