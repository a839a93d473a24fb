"""Relay's text form, as ``astext()`` of TVM 0.19 and older printed it, taken apart.

    def @main(%x: Tensor[(1, 3), float32], ..) -> .. { %0 = op(%x, axis=1) /* ty=.. */; .. }
    #[metadata] { .. }

Only one function ``main`` of operator calls, tuples and constants is understood: what networks
become. Types in comments are not needed and not read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

_TOKEN = re.compile(
    r"(?P<space>\s+|/\*.*?\*/|//[^\n]*)"
    r"|(?P<number>-?(?:inf|nan|\d+(?:\.\d+)?(?:e[-+]?\d+)?)(?:f64|f32|f16|f|i64|u8|i8)?(?![\w.]))"
    r"|(?P<local>%\w(?:[\w./-]|:(?=\w))*)"
    r"|(?P<name>@?[A-Za-z_][\w.]*)"
    r'|(?P<text>"(?:[^"\\]|\\.)*")'
    r"|(?P<mark>->|[()\[\]{},;:=*?])",
    re.DOTALL,
)
_DEEPEST = 64  # nested expressions
T = TypeVar("T")


@dataclass(frozen=True)
class Local:
    """``%name``, or ``%name.index`` of what is a tuple."""

    name: str


@dataclass(frozen=True)
class Scalar:
    """A number with its element type."""

    value: float | int
    dtype: str


@dataclass(frozen=True)
class Meta:
    """A constant of the metadata section, by its number."""

    index: int


@dataclass(frozen=True)
class Call:
    op: str
    args: tuple[Expr, ...]
    attributes: dict[str, Attribute]
    line: int


@dataclass(frozen=True)
class Tuple:
    fields: tuple[Expr, ...]


Expr = Local | Scalar | Meta | Call | Tuple
Attribute = int | float | bool | str | None | tuple["Attribute", ...]


@dataclass(frozen=True)
class Parameter:
    """An input of the function, as ``Tensor[shape, dtype]``."""

    name: str
    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Program:
    """``bindings`` in order, then the expression of the result."""

    params: tuple[Parameter, ...]
    bindings: tuple[tuple[str, Expr], ...]
    result: Expr


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    line: int


def parse_relay(text: str) -> Program:
    """The function ``main`` of ``text`` (without its metadata). Raises ValueError with a line."""
    text = re.sub(r'#\[version = "[^"]*"\]', "", text, count=1)
    parser = _Parser(list(_tokens(text)))
    try:
        return parser.program()
    except IndexError:
        raise ValueError(f"line {text.count(chr(10)) + 1}: the text ends too early") from None


def _tokens(text: str) -> list[_Token]:
    found, place, line = [], 0, 1
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            found_here = text[place : place + 20].splitlines()[0]
            raise ValueError(f"line {line}: '{found_here}' is not Relay")
        kind = str(match.lastgroup)
        if kind != "space":
            found.append(_Token(kind, match.group(), line))
        line += match.group().count("\n")
        place = match.end()
    return found


@dataclass
class _Parser:
    tokens: list[_Token]
    place: int = 0
    depth: int = 0
    bindings: list[tuple[str, Expr]] = field(default_factory=list)

    @property
    def next(self) -> _Token:
        return self.tokens[self.place]

    def take(self, text: str = "", kind: str = "") -> str:
        token = self.next
        if (text and token.text != text) or (kind and token.kind != kind):
            raise ValueError(f"line {token.line}: '{token.text}' where '{text or kind}' should be")
        self.place += 1
        return token.text

    def accept(self, text: str) -> bool:
        found = self.next.text == text
        self.place += found
        return found

    def listed(self, end: str, item: Callable[[], T]) -> tuple[T, ...]:
        """Items between commas, up to and with ``end``."""
        found = []
        while not self.accept(end):
            found.append(item())
            if not self.accept(","):
                self.take(end)
                break
        return tuple(found)

    def program(self) -> Program:
        self.take("def")
        self.take("@main")
        self.take("(")
        params = self.listed(")", self._parameter)
        if self.accept("->"):
            self._skip_type()
        self.take("{")
        result = self._body()
        self.take("}")
        if self.place < len(self.tokens):
            raise ValueError(f"line {self.next.line}: more than one function")
        return Program(params, tuple(self.bindings), result)

    def _body(self) -> Expr:
        while True:
            is_let = self.accept("let")
            if self.next.kind == "local" and self.tokens[self.place + 1].text in ("=", ":"):
                name = self.take(kind="local")
                if self.accept(":"):
                    self._skip_type()
                self.take("=")
                self.bindings.append((name, self._expression()))
                self.take(";")
                continue
            if is_let:
                self.take(kind="local")
            return self._expression()

    def _parameter(self) -> Parameter:
        name = self.take(kind="local")
        self.take(":")
        self.take("Tensor")
        self.take("[")
        self.take("(")
        shape = self.listed(")", self._extent)
        self.take(",")
        dtype = self.take(kind="name")
        self.take("]")
        return Parameter(name[1:], shape, dtype)

    def _extent(self) -> int:
        token = self.next
        if token.kind != "number":
            raise ValueError(f"line {token.line}: the extent '{token.text}' is not fixed")
        return int(self.take())

    def _skip_type(self) -> None:
        """A type is bracketed; it ends at a mark outside of brackets."""
        depth = 0
        while depth or self.next.text not in ("{", "=", ",", ")"):
            depth += {"(": 1, "[": 1, ")": -1, "]": -1}.get(self.next.text, 0)
            self.place += 1

    def _expression(self) -> Expr:
        self.depth += 1
        if self.depth > _DEEPEST:
            raise ValueError(f"line {self.next.line}: expressions are nested too deeply")
        expr = self._primary()
        self.depth -= 1
        return expr

    def _primary(self) -> Expr:
        token = self.next
        if token.kind == "local":
            return Local(self.take())
        if token.kind == "number":
            return scalar(self.take())
        if token.text in ("True", "False"):
            return Scalar(int(self.take() == "True"), "bool")
        if token.text == "(":
            return self._parenthesis()
        if token.text == "meta":
            return self._meta()
        if token.kind == "name" and self.tokens[self.place + 1].text == "(":
            return self._call()
        raise ValueError(f"line {token.line}: '{token.text}' is more than operators and constants")

    def _parenthesis(self) -> Expr:
        self.take("(")
        fields, is_tuple = [], False
        while not self.accept(")"):
            fields.append(self._expression())
            if self.accept(","):
                is_tuple = True
            else:
                self.take(")")
                break
        return Tuple(tuple(fields)) if is_tuple or not fields else fields[0]

    def _meta(self) -> Meta:
        self.take("meta")
        self.take("[")
        self.take("relay.Constant")
        self.take("]")
        self.take("[")
        index = int(self.take(kind="number"))
        self.take("]")
        return Meta(index)

    def _call(self) -> Call:
        line, op = self.next.line, self.take(kind="name")
        self.take("(")
        args: list[Expr] = []
        attributes: dict[str, Attribute] = {}

        def argument() -> None:
            if self.next.kind == "name" and self.tokens[self.place + 1].text == "=":
                name = self.take()
                self.take("=")
                attributes[name] = self._attribute()
            else:
                args.append(self._expression())

        self.listed(")", argument)
        return Call(op, tuple(args), attributes, line)

    def _attribute(self) -> Attribute:
        token = self.next
        if token.text == "[" or token.text == "(":
            self.take()
            return self.listed("]" if token.text == "[" else ")", self._attribute)
        if token.kind == "text":
            return self.take()[1:-1]
        if token.kind == "number":
            return scalar(self.take()).value
        words = {"True": True, "False": False, "None": None}
        if token.text in words:
            return words[self.take()]
        raise ValueError(f"line {token.line}: the attribute value '{token.text}' is not understood")


_SUFFIXES = {
    "f64": "float64", "f32": "float32", "f16": "float16", "f": "float32",
    "i64": "int64", "u8": "uint8", "i8": "int8",
}  # fmt: skip


def scalar(text: str) -> Scalar:
    """``0.5f``, ``7``, ``3i64``."""
    for suffix, dtype in _SUFFIXES.items():
        if text.endswith(suffix) and not text.endswith(("inf", "nan")):
            number = text[: -len(suffix)]
            is_float = dtype.startswith("float")
            return Scalar(float(number) if is_float else int(number), dtype)
    if re.fullmatch(r"-?\d+", text):
        return Scalar(int(text), "int32")
    return Scalar(float(text), "float32")
