"""OpenQASM 3 text: our own round trip, Qiskit as a second reader and writer, and foreign text."""

import sys

import numpy as np
import pytest
from qiskit import QuantumCircuit, qasm3
from qiskit.circuit import Parameter, ParameterVector, ParameterVectorElement
from qiskit.circuit.library import RXGate
from qiskit.quantum_info import Operator, random_unitary

from nisqkit.circuits import amplitude, lower
from nisqkit.circuits.gates import GATES
from nisqkit.circuits.lower import gate_class
from nisqkit.circuits.qasm import from_qasm3, to_qasm3
from nisqkit.hardware_backends.conformance import random_circuit


def bound(circuit: QuantumCircuit) -> Operator:
    """The matrix with every parameter at a value that its name decides."""
    rng = {p.name: np.sin(sum(map(ord, p.name)) + 0.1) for p in circuit.parameters}
    return Operator(circuit.assign_parameters({p: rng[p.name] for p in circuit.parameters}))


def same(a: QuantumCircuit, b: QuantumCircuit) -> bool:
    return bound(a).equiv(bound(b), rtol=0, atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_random_circuits_come_back(seed: int) -> None:
    circuit = random_circuit(3, num_gates=30, seed=seed)
    again, inputs = from_qasm3(to_qasm3(circuit, inputs="x"))
    assert same(circuit, again)
    first, second = lower(circuit, inputs="x"), lower(again, inputs=inputs)
    assert (first.inputs, first.weights) == (second.inputs, second.weights)


@pytest.mark.parametrize("name", GATES)
def test_every_gate_comes_back(name: str) -> None:
    record = GATES[name]
    angles = np.random.default_rng(1).uniform(-3, 3, record.num_params)
    circuit = QuantumCircuit(record.num_qubits)
    circuit.append(gate_class(name)(*angles), range(record.num_qubits))
    again, _ = from_qasm3(to_qasm3(circuit))
    assert same(circuit, again)
    twin = "u" if name == "id" else name  # the importer makes it of the identity
    assert [i.operation.name for i in again.data] == [twin]
    assert again.data[0].operation.base_class is gate_class(twin)


@pytest.mark.parametrize("name", GATES)
def test_the_text_means_the_same_to_qiskit(name: str) -> None:
    record = GATES[name]
    angles = np.random.default_rng(2).uniform(-3, 3, record.num_params)
    circuit = QuantumCircuit(record.num_qubits)
    circuit.append(gate_class(name)(*angles), range(record.num_qubits))
    text = to_qasm3(circuit)
    if record.num_params < 2 or f"gate {name}" not in text:  # its reader sorts a gate's arguments
        assert same(circuit, qasm3.loads(text))


def test_names_vectors_and_roles_come_back() -> None:
    x, w, phi = ParameterVector("x", 3), ParameterVector("weights", 12), Parameter("φ")
    odd = [Parameter(n) for n in ("rx", "pi", "a b", "a_b", "2nd", "_x", "w[0]", "b = c", "x_0")]
    circuit = QuantumCircuit(1)
    for p in (x[2], w[10], w[2], phi, *odd):
        circuit.rx(p, 0)
    again, inputs = from_qasm3(to_qasm3(circuit, inputs=[x, phi]))
    assert inputs == ("x[0]", "x[1]", "x[2]", "φ")
    program = lower(again, inputs=inputs)
    assert program.inputs == inputs
    assert program.weights == lower(circuit, inputs=[x, phi]).weights
    found = {p.name: p for p in again.parameters}
    element = found["weights[10]"]
    assert isinstance(element, ParameterVectorElement)
    assert (element.index, len(element.vector)) == (10, 12)
    assert not isinstance(found["w[0]"], ParameterVectorElement)
    order = [i.operation.params[0].name for i in again.data]
    assert order == [i.operation.params[0].name for i in circuit.data]


def test_formulas_come_back() -> None:
    x = ParameterVector("x", 2)
    a, b = x
    circuit = QuantumCircuit(1)
    for angle in [
        (np.pi - a) * (np.pi - b) / 3,
        a**2 - b**-1,
        (a.sin() + b.cos()).tan(),
        a.arcsin() * b.arccos() + a.arctan(),
        (a.exp() + 2).log(),
        abs(a - b),
        a.conjugate(),
        1e-3 * a + 0.1234567890123456,
        -a,
        (a + 1) ** (-b),
    ]:
        circuit.rx(angle, 0)
        circuit.h(0)
    again, _ = from_qasm3(to_qasm3(circuit, inputs="x"))
    for first, second in zip(circuit.data, again.data, strict=True):
        for p, q in zip(first.operation.params, second.operation.params, strict=True):
            values = {"x[0]": 0.3, "x[1]": -0.7}
            numbers = [float(e.bind({v: values[v.name] for v in e.parameters})) for e in (p, q)]
            assert numbers[0] == pytest.approx(numbers[1], rel=1e-14, abs=1e-15)


def test_numbers_keep_all_digits() -> None:
    circuit = QuantumCircuit(1)
    near = np.pi / 2 + 1e-10  # Qiskit's exporter writes pi/2
    circuit.rx(near, 0)
    assert from_qasm3(to_qasm3(circuit))[0].data[0].operation.params == [near]


def test_other_gates_are_written_as_their_definition() -> None:
    circuit = QuantumCircuit(3, 3)
    a = Parameter("a")
    circuit.unitary(random_unitary(8, seed=3), [2, 0, 1])
    circuit.append(RXGate(2 * a).control(2, annotated=False), [1, 2, 0])
    circuit.ccx(2, 0, 1)
    circuit.barrier()
    circuit.cswap(1, 0, 2)
    again, _ = from_qasm3(to_qasm3(circuit))
    assert same(circuit, again)
    circuit.reset(1)
    circuit.measure([0, 2], [1, 0])
    text = to_qasm3(circuit)
    assert text.endswith("reset q[1];\nc[1] = measure q[0];\nc[0] = measure q[2];\n")
    assert from_qasm3(text)[0].count_ops()["measure"] == 2


def test_text_of_qiskit_can_be_read() -> None:
    circuit = random_circuit(3, num_gates=25, seed=9)
    again, inputs = from_qasm3(qasm3.dumps(circuit))
    assert inputs == ()
    renamed = {p: Parameter(f"_{p.name[0]}_{p.name[2:-1]}_") for p in circuit.parameters}
    assert bound(circuit.assign_parameters(renamed)).equiv(bound(again), rtol=0, atol=1e-8)


HEAD = 'OPENQASM 3.0;\ninclude "stdgates.inc";\ninput float[64] a;\ninput angle b;\nqubit[2] q;\n'


def test_foreign_text_keeps_its_names_and_has_no_inputs() -> None:
    circuit, inputs = from_qasm3(HEAD + "rx(a) q[0];\n")
    assert [p.name for p in circuit.parameters] == ["a", "b"]  # b is declared, though not used
    assert inputs == ()
    program = lower(circuit, inputs=["b"])
    assert (program.inputs, program.weights) == (("b",), ("a",))


@pytest.mark.parametrize(
    ("body", "angle"),
    [
        ("rx(2 * a - b / 4 + pi) q[0];", 2 * 0.3 - 0.7 / 4 + np.pi),
        ("rx(-(a - tau)) q[0];", 2 * np.pi - 0.3),
        ("rx(sin(a) * arctan(b) ** 2) q[0];", np.sin(0.3) * np.arctan(0.7) ** 2),
        ("rx(a ** 3 + sqrt(b) + log(euler)) q[0];", 0.3**3 + np.sqrt(0.7) + 1),
        ("rx(2 ** a) q[0];", 2**0.3),
        ("const float c = 1.5; rx(c * a) q[0];", 0.45),
        ("rx(5 / 2) q[0];", 2.0),
        ("rx(5 / 2.0 + 0 * a) q[0];", 2.5),
        ("rx(sin(1.0)) q[0];", np.sin(1.0)),
        ("gate f(z, y) p { rx(z) p; rz(0.0 * y) p; } f(a, b) q[0];", 0.3),
        ("inv @ rx(a) q[0];", -0.3),
    ],
)
def test_angles_of_foreign_text(body: str, angle: float) -> None:
    circuit, _ = from_qasm3(HEAD + body)
    values = {"a": 0.3, "b": 0.7}
    found = circuit.assign_parameters({p: values[p.name] for p in circuit.parameters})
    right = QuantumCircuit(2)
    right.rx(angle, 0)
    assert Operator(found).equiv(Operator(right), rtol=0, atol=1e-12)


def test_a_foreign_gate_of_a_known_name_keeps_its_own_meaning() -> None:
    circuit, _ = from_qasm3(HEAD + "gate rxx(t) c, d { rx(t) c; rx(t) d; } rxx(a) q[0], q[1];")
    assert circuit.data[0].operation.base_class is not gate_class("rxx")
    assert [g.name for g in lower(circuit).gates] == ["rx", "rx"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("OPENQASM 2.0;\nqreg q[1];", r"OpenQASM 2 text: read it with qiskit.qasm2.loads"),
        (HEAD + "rx(a q[0];", "not OpenQASM 3 text: line 6:5"),
        ("hello", "not OpenQASM 3 text"),
        (HEAD + "qubit[2 r;", "not OpenQASM 3 text: line 6:8 unexpected 'r'"),
        ("data/circuit.qasm", "'data/circuit.qasm' looks like a path: read the file first"),
        (HEAD + "rxy(a) q[0];", "line 6,0: gate 'rxy' is not defined"),
        (HEAD + "rx(a, a) q[0];", "cannot read this OpenQASM 3 text"),
        (HEAD + "rx(a) q[7];", "cannot read this OpenQASM 3 text: .*index"),
        (HEAD + "rx(floor(a)) q[0];", r"cannot read the angle 'floor\(a\)': it may have"),
        (HEAD + "rx(c) q[0];", "cannot read the angle 'c'"),
        (HEAD + "input int n; rx(n) q[0];", "cannot read the angle 'n'"),
        (HEAD + "// nisqkit: input x = y\n", "damaged comment .* 'input|nisqkit: input x = y"),
        (HEAD + "// nisqkit: input x of 3 = a\n", "damaged comment"),
        (HEAD + "// nisqkit: input x[3] of 3 = a\n", "damaged comment"),
        (HEAD + "// nisqkit: inputs x = a\n", "damaged comment"),
        (HEAD + "// nisqkit: input x = a\n// nisqkit: weight y = a\n", "damaged comment"),
    ],
)
def test_bad_text_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_qasm3(text)


def test_what_the_language_cannot_carry_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot carry instruction 'amplitude'"):
        to_qasm3(amplitude(4), inputs="x")
    circuit = QuantumCircuit(1, 1)
    with circuit.if_test((0, True)):
        circuit.x(0)
    with pytest.raises(ValueError, match="cannot carry instruction 'if_else'"):
        to_qasm3(circuit)
    circuit = QuantumCircuit(1)
    circuit.rx(Parameter("a").sign(), 0)
    with pytest.raises(ValueError, match="has no function sign"):
        to_qasm3(circuit)
    circuit = QuantumCircuit(1)
    circuit.rx(2 ** Parameter("a"), 0)
    with pytest.raises(ValueError, match=r"write number \*\* parameter as"):
        to_qasm3(circuit)
    circuit = QuantumCircuit(1)
    circuit.rx(Parameter("a\nb"), 0)
    with pytest.raises(ValueError, match="one line"):
        to_qasm3(circuit)


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "qiskit_qasm3_import", None)
    with pytest.raises(ImportError, match=r'pip install "nisqkit\[qasm\]"'):
        from_qasm3(HEAD)


def test_only_circuits_are_written() -> None:
    program = lower(amplitude(2), inputs="x")
    with pytest.raises(TypeError, match=r"takes a qiskit.QuantumCircuit, not Program: .*circuit_o"):
        to_qasm3(program)  # type: ignore[arg-type]
