"""Angles that are not affine in the parameters: SymPy formulas as one torch function."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sympy
import torch
from qiskit.circuit import Parameter, ParameterExpression
from torch import Tensor


class Formulas:
    """SymPy formulas of the parameters ``p0, p1, ...`` as one torch function."""

    def __init__(self, formulas: tuple[sympy.Expr, ...], num_parameters: int) -> None:
        self.formulas, self.num_parameters = formulas, num_parameters
        self._compile()

    @classmethod
    def from_qiskit(
        cls, expressions: Sequence[ParameterExpression], parameters: Sequence[Parameter]
    ) -> Formulas:
        """Formulas of Qiskit expressions; ``p0, p1, ...`` are the parameters in this order."""
        names = {p.name: sympy.Symbol(f"p{k}", real=True) for k, p in enumerate(parameters)}
        formulas = []
        for expression in expressions:
            formula = sympy.sympify(expression.sympify())
            formulas.append(
                formula.subs({s: names[s.name] for s in formula.free_symbols}, simultaneous=True)
            )
        return cls(tuple(formulas), len(parameters))

    @property
    def key(self) -> str:
        """Equal for formulas that compute the same."""
        return "; ".join(sympy.srepr(f) for f in self.formulas)

    def _compile(self) -> None:
        names = ("sin", "cos", "tan", "exp", "log", "sqrt", "sinh", "cosh", "tanh")
        table: dict[str, Any] = {name: getattr(torch, name) for name in names}
        table |= {
            "asin": torch.arcsin,
            "acos": torch.arccos,
            "atan": torch.arctan,
            "Abs": torch.abs,
            "signum": torch.sign,
        }
        symbols = [sympy.Symbol(f"p{k}", real=True) for k in range(self.num_parameters)]
        # SymPy would print its own sign() as a comparison, which a batch cannot answer
        formulas = [f.replace(sympy.sign, sympy.Function("signum")) for f in self.formulas]
        self._function = sympy.lambdify(symbols, formulas, modules=[table, "math"], cse=True)

    def __call__(self, inputs: Tensor, weights: Tensor) -> Tensor:
        """``(..., num_inputs), (..., num_weights) -> (..., number of formulas)``."""
        columns = torch.cat([inputs, weights], dim=-1).unbind(dim=-1)
        values = self._function(*columns)  # a number where a formula turned out to be constant
        return torch.stack([torch.zeros_like(columns[0]) + v for v in values], dim=-1)

    def __getstate__(self) -> dict[str, Any]:
        return {"formulas": self.formulas, "num_parameters": self.num_parameters}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._compile()
