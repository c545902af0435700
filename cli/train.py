"""`nisqkit train`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nisqkit.cli import train_options as options
from nisqkit.cli.console import accuracy_table, console, device_names, with_interval

if TYPE_CHECKING:
    from nisqkit.qml.config import TrainConfig

# Options that are not given stay None, and the config's own default holds; a resumed run takes
# them from its folder. The texts of the defaults are for --help.
_DATA, _MODEL, _TRAINING, _RUN = "Data", "Model", "Training", "Run"


def train(
    task: Annotated[
        str | None,
        typer.Option(
            help="Task to train on; `nisqkit tasks` lists them.",
            show_default="digits4",
            rich_help_panel=_DATA,
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Your own data: an .npz file with the arrays features, (N, F), and labels, (N,). "
            "Features are used as angles in radians and are not scaled.",
            rich_help_panel=_DATA,
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder with the task's files.", rich_help_panel=_DATA),
    ] = None,
    circuit: Annotated[
        str | None,
        typer.Option(
            help="Ansatz; `nisqkit circuits` lists them.",
            show_default="u3-cu3",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option(
            help="Blocks or layers of the ansatz.", show_default="4", rich_help_panel=_MODEL
        ),
    ] = None,
    qubits: Annotated[
        int | None,
        typer.Option(
            help="Angle-encode on this many qubits instead of as published.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            help="Your own model: module:function or file.py:function, called with "
            "(num_features, num_classes).",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(
            help="What trains. With aer and one --device it trains on the noisy device; without a "
            "device aer gives what native gives, much slower.",
            show_default="native",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Noisy device to evaluate on at the end; `nisqkit devices` lists them. "
            "May be repeated.",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    noise_aware: options.NoiseAware = False,
    noise: options.NoiseKind = None,
    noise_factor: options.NoiseFactor = None,
    noise_schedule: options.NoiseSchedule = None,
    ideal_encoder: options.IdealEncoder = None,
    layout: options.Layout = None,
    nodes: options.Nodes = None,
    norm: options.Norm = None,
    quantize: options.Quantize = None,
    centroid_weight: options.CentroidWeight = None,
    native: options.Native = None,
    teacher: options.Teacher = None,
    distill_weight: options.DistillWeight = None,
    temperature: options.Temperature = None,
    shots: Annotated[
        int | None,
        typer.Option(
            help="Measurements per circuit on devices.",
            show_default="exact values",
            rich_help_panel=_MODEL,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(help="Passes over the data.", show_default="30", rich_help_panel=_TRAINING),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Samples per step.", show_default="32", rich_help_panel=_TRAINING),
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            help="adam, adamw, sgd or rmsprop.", show_default="adam", rich_help_panel=_TRAINING
        ),
    ] = None,
    lr: Annotated[
        float | None,
        typer.Option(help="Learning rate.", show_default="0.02", rich_help_panel=_TRAINING),
    ] = None,
    schedule: Annotated[
        str | None,
        typer.Option(
            help="Of the learning rate: constant or cosine.",
            show_default="cosine",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    warmup_epochs: Annotated[
        int | None,
        typer.Option(
            help="Raise the learning rate over this many epochs first.",
            show_default="0",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(help="As in the optimizer.", show_default="0.0", rich_help_panel=_TRAINING),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            help="Stop after this many epochs without a lower validation loss.",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            help="Weights to keep: best (lowest validation loss) or last.",
            show_default="best",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="Of the split, the weights, the batches and the shots.",
            show_default="0",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(
            min=1,
            help="Run this many seeds, from --seed on, and report means.",
            rich_help_panel=_TRAINING,
        ),
    ] = 1,
    threads: Annotated[
        int | None,
        typer.Option(
            help="Threads of torch's own operations.",
            show_default="1",
            rich_help_panel=_TRAINING,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Folder for everything that the run writes.",
            show_default="runs/TASK-seedN",
            rich_help_panel=_RUN,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Go on with the run in --out; it knows its options.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    checkpoint_every_steps: Annotated[
        int | None,
        typer.Option(help="Write checkpoints within epochs too.", rich_help_panel=_RUN),
    ] = None,
    baselines: Annotated[
        bool,
        typer.Option(
            "--baselines",
            help="Also fit classical models to the same features.",
            rich_help_panel=_RUN,
        ),
    ] = False,
) -> None:
    """Train a circuit to classify, and evaluate it noise-free and on noisy devices.

    Training can be killed at any moment and resumed to the same weights, bit for bit.
    """
    given: dict[str, Any] = {
        "task": task,
        "data": None if data is None else str(data),
        "data_dir": None if data_dir is None else str(data_dir),
        "circuit": circuit,
        "depth": depth,
        "qubits": qubits,
        "model": model,
        "backend": backend,
        "devices": device_names(device) or None,
        "noise": noise,
        "noise_factor": noise_factor,
        "noise_schedule": noise_schedule,
        "ideal_encoder": ideal_encoder,
        "layout": _qubits(layout),
        "nodes": nodes,
        "norm": norm,
        "quantize": quantize,
        "centroid_weight": centroid_weight,
        "native": native,
        "teacher": None if teacher is None else str(teacher),
        "distill_weight": distill_weight,
        "temperature": temperature,
        "shots": shots,
        "epochs": epochs,
        "batch_size": batch_size,
        "optimizer": optimizer,
        "lr": lr,
        "schedule": schedule,
        "warmup_epochs": warmup_epochs,
        "weight_decay": weight_decay,
        "patience": patience,
        "keep": keep,
        "seed": seed,
        "threads": threads,
        "checkpoint_every_steps": checkpoint_every_steps,
    }
    given = {name: value for name, value in given.items() if value is not None}

    from nisqkit.qml.config import NOISE_AWARE, TrainConfig

    if noise_aware:
        given = {**NOISE_AWARE, **given}
    if given.get("quantize") == 0:
        given["quantize"] = None
    config = TrainConfig(**given)
    ending = f"seed{config.seed}" if seeds == 1 else f"seeds{seeds}"
    folder = out or Path("runs") / f"{config.task_name}-{ending}"
    if resume:
        first = folder if seeds == 1 else folder / f"seed{config.seed}"
        config = _recorded(first, given) or config
    _refuse_idle(given, config)
    if seeds == 1:
        _train_once(config, folder, resume, baselines)
    else:
        _train_seeds(config, seeds, folder, resume, baselines)


def _refuse_idle(given: dict[str, Any], config: TrainConfig) -> None:
    """Refuse options that would change nothing."""
    for why, value, idle in (
        ("--data", config.data, ("task", "data_dir")),
        ("--model", config.model, ("circuit", "depth", "qubits", *_NODES)),
    ):
        names = [f"--{name.replace('_', '-')}" for name in idle if name in given]
        if value is not None and names:
            raise ValueError(
                f"{' and '.join(names)} would change nothing beside {why}: leave out one of them"
            )


_NODES = ("nodes", "norm", "quantize", "native")


def _qubits(text: str | None) -> tuple[int, ...] | None:
    """Read --layout."""
    if text is None:
        return None
    try:
        return tuple(int(part) for part in text.replace("-", ",").split(","))
    except ValueError:
        raise ValueError(
            f"--layout {text}: give qubits of the device with commas, such as 0,1,3,4"
        ) from None


def _recorded(folder: Path, given: dict[str, Any]) -> TrainConfig | None:
    """The config of the run in a folder, with the options that are given now put over it."""
    from nisqkit.qml.config import TrainConfig
    from nisqkit.qml.run_folder import RunFolder

    run = RunFolder(folder)
    return TrainConfig.from_dict(run.config().to_dict() | given) if run.holds_run else None


def _train_once(config: TrainConfig, folder: Path, resume: bool, baselines: bool) -> None:
    from nisqkit.cli.watcher import ProgressWatcher, progress_bar
    from nisqkit.qml.seeds import model_name, rows_of
    from nisqkit.qml.training import train

    with progress_bar() as progress:
        watcher = ProgressWatcher(progress, config.task_name)
        result = train(config, out=folder, resume=resume, baselines=baselines, watcher=watcher)
    rows = rows_of(model_name(config), [result.report])
    size = result.report["sizes"]["test"]
    print_rows(f"{config.task_name}, {size} test samples, with Wilson's 95 % interval", rows)
    report = result.report
    console.print(
        f"best epoch {report['best_epoch']} of {report['epochs']}, trained in "
        f"{report['seconds']:.1f} s, {result.replayed_steps} steps replayed; "
        f"results in {folder}",
        soft_wrap=True,
        highlight=False,
    )


def _train_seeds(
    config: TrainConfig, num_seeds: int, folder: Path, resume: bool, baselines: bool
) -> None:
    from nisqkit.cli.watcher import ProgressWatcher, progress_bar
    from nisqkit.qml.seeds import train_seeds

    with progress_bar() as progress:
        result = train_seeds(
            config,
            num_seeds,
            out=folder,
            resume=resume,
            baselines=baselines,
            watcher=lambda seed: ProgressWatcher(progress, f"{config.task_name}, seed {seed}"),
        )
    print_rows(
        f"{config.task_name}, mean of {num_seeds} seeds with Student's 95 % interval", result.rows
    )
    replayed = sum(r.replayed_steps for r in result.results)
    console.print(
        f"{replayed} steps replayed; results in {folder}", soft_wrap=True, highlight=False
    )


def print_rows(title: str, rows: Any) -> None:
    """Print a table of accuracies."""
    cells = [
        (r.model, r.condition, r.parameters, with_interval(r.mean, r.low, r.high)) for r in rows
    ]
    console.print(accuracy_table(title, cells))
