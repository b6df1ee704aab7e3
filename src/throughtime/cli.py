"""The command line: ``throughtime train``, ``predict``, ``stream``, ``check``, ``explain``, ``bench``, ``demo``.

Thin: it reads arguments, calls, prints.

Results go to the standard output, progress and errors to the standard error. Exit codes: 0 done, 1 ``check`` found an
error, 2 something that the user can mend (one line says what), 130 interrupted.
"""

from __future__ import annotations

import os
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .backend import choose_backend
from .errors import ArgumentError, RunError, ThroughtimeError, choose, counted
from .options import (
    DTYPES,
    ENCODING,
    FEATURES,
    NA_VALUES,
    SEQUENCE,
    SKIP,
    TABLE,
    TARGET,
    TASK,
    TIME,
    column_or_columns,
    columns_of,
    dtypes_of,
    name_options,
    training_options,
)  # fmt: skip

if TYPE_CHECKING:
    from .training.run import Run
    from .training.scores import Evaluation

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Recurrent networks that train: any sequence length, naive baselines beside every score.",
)


def console() -> None:
    """The entry point of the installed command.

    Keras imports TensorFlow, where it is installed, to save any model on any backend: seconds, and lines of its log.
    A process that is ours alone can spare the user both.
    """
    others = {"jax", "torch"} if "KERAS_BACKEND" not in os.environ else {os.environ["KERAS_BACKEND"]} - {"tensorflow"}
    if any(find_spec(name) for name in others if name.isidentifier()):
        sys.modules.setdefault("tensorflow", None)  # type: ignore[arg-type]
    main()


def main() -> None:
    """The entry point: errors that the user can mend become one line and exit code 2."""
    try:
        try:
            app()
        except SystemExit:
            sys.stdout.flush()  # here, where a disk that is full can be told of
            raise
    except ThroughtimeError as error:
        said = _in_options(str(error), values=isinstance(error, ArgumentError))
        typer.echo(f"error: {' '.join(said.split())}", err=True)
        raise SystemExit(2) from None
    except SystemExit as stopped:
        if stopped.code == 130:  # typer makes this of Ctrl-C, and says nothing
            resume = sys.argv[1:2] == ["train"]
            more = "; the same command with --resume goes on from the last epoch" if resume else ""
            typer.echo(f"interrupted{more}", err=True)
        raise
    except BrokenPipeError:  # the reader of our output, such as head, has seen enough
        sys.stderr.close()
        raise SystemExit(0) from None
    except OSError as error:  # of the system: a disk that is full, a file that may not be read
        what = f"{error.filename}: " if error.filename else ""
        typer.echo(f"error: {what}{error.strerror or error}.", err=True)
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (what could not be written is tried again at the end otherwise)
        raise SystemExit(2) from None


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"throughtime {version('throughtime')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def train(
    context: typer.Context,
    table: Annotated[str, TABLE],
    target: Annotated[str | None, TARGET] = None,
    sequence: Annotated[str | None, SEQUENCE] = None,
    time: Annotated[str | None, TIME] = None,
    features: Annotated[str | None, FEATURES] = None,
    known: Annotated[
        str | None, typer.Option(help="Forecasts: input columns whose future values are known, with commas.")
    ] = None,
    dtypes: Annotated[str | None, DTYPES] = None,
    na_values: Annotated[str | None, NA_VALUES] = None,
    encoding: Annotated[str | None, ENCODING] = None,
    skip: Annotated[int | None, SKIP] = None,
    task: Annotated[str | None, TASK] = None,
    horizon: Annotated[int | None, typer.Option(help="Forecasts: how many steps ahead.")] = None,
    window: Annotated[
        int | None, typer.Option(help="Forecasts: how many steps back. By default from the season and the horizon.")
    ] = None,
    cell: Annotated[str, typer.Option(help="lstm, gru or rnn; mingru, minlstm or lru.")] = "lstm",
    units: Annotated[int, typer.Option(help="Units of a recurrent layer.")] = 64,
    depth: Annotated[int, typer.Option(help="Recurrent layers.")] = 1,
    dropout: Annotated[float, typer.Option(help="Share of hidden outputs dropped in training.")] = 0.3,
    causal: Annotated[bool, typer.Option("--causal", help="Look at no later step, so that 'stream' takes the run.")] = (
        False
    ),
    scale: Annotated[str, typer.Option(help="standard, minmax, robust or none.")] = "standard",
    missing: Annotated[str, typer.Option(help="Missing inputs: fill (the last value, and an indicator) or refuse.")] = (
        "fill"
    ),
    validation: Annotated[
        float | None, typer.Option(help="Share held out for early stopping. By default 0.15.")
    ] = None,
    test: Annotated[
        float | None, typer.Option(help="Share held out for the scores; 0 for none. By default 0.15.")
    ] = None,
    split_at: Annotated[
        str | None,
        typer.Option(
            help="Instead: the date of the time column where validation begins for all sequences; and, with a "
            "comma, where test begins."
        ),
    ] = None,
    history: Annotated[
        str, typer.Option(help="Forecasts: validation and test have their own history, or shared: rows before them.")
    ] = "own",
    batch_size: Annotated[int | None, typer.Option(help="Most sequences of a batch. By default from the data.")] = None,
    tokens: Annotated[int | None, typer.Option(help="Most time steps of a batch, instead of --batch-size.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of Adam. By default 0.003; forecasts 0.001.")] = None,
    epochs: Annotated[int | None, typer.Option(help="At most. By default from the size of the data.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Epochs in vain until it stops; by default from the data.")
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="Most bytes held between forward and backward pass, as 256MiB; the same results.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the split, the initial weights and the batches.")] = 0,
    out: Annotated[str | None, typer.Option(help="Run directory. By default a new one, runs/NAME.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the run directory.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Train a network on the sequences of a table, and write the run and its report.html."""
    directory = _hold_directory(context, table, out, resume)
    if not resume:
        _refuse_used(directory)
    finished = (directory / "run.json").exists()
    if resume and not finished and not (directory / "checkpoint.npz").exists():
        _say(f"there is nothing to resume in {directory}: this run starts anew")
    from .data.tables import read_table

    dates = columns_of(split_at)
    if dates is not None and (validation is not None or test is not None):
        raise ArgumentError("--split-at says where validation and test begin; leave out --validation and --test.")
    validation, test = (0.15 if share is None else share for share in (validation, test))
    settings = training_options(
        {"cell": cell, "units": units, "depth": depth, "dropout": dropout, "scale": scale, "missing": missing,
         "causal": causal, "batch_size": batch_size, "tokens": tokens, "learning_rate": learning_rate, "epochs": epochs,
         "patience": patience, "seed": seed},
        memory=memory, validation=validation, test=test, history=history,
        forecast=horizon is not None or (task or "").casefold() == "forecast",
    )  # fmt: skip
    history = history.casefold()
    data = read_table(
        table,
        target=column_or_columns(target),
        sequence=sequence,
        time=column_or_columns(time),
        features=columns_of(features),
        known=columns_of(known) or (),
        task=task,  # type: ignore[arg-type]
        horizon=horizon,
        window=window,
        dtypes=dtypes_of(dtypes),
        na_values=columns_of(na_values) or (),
        encoding=encoding,
        skip=skip,
    )
    choose_backend()
    from .training.train import train as train_network

    sizes_asked = {"validation": validation, "test": test} if dates is None else {"at": dates}
    parts = data.split(**sizes_asked, history=history, seed=seed)  # type: ignore[arg-type]
    if not quiet:
        notes = (*data.notes, *(note for note in parts[0].notes if note not in data.notes))
        _say(f"{data!r}", *(_in_options(note, values=True) for note in notes))
        names = ("training", "validation", "test")
        sizes = (f"{counted(part.steps, 'step')} in {counted(len(part), 'sequence')}" for part in parts)
        _say("split: " + ", ".join(f"{name} {size}" for name, size in zip(names, sizes, strict=False)))
    run = train_network(
        parts[0],
        parts[1],
        **settings,
        memory=memory,
        out=directory,
        resume=resume,
        progress=not quiet,
    )
    if len(parts) == 3 and "test" not in run.evaluations:  # there it is in a run that was finished before
        run.evaluate(parts[2])
    evaluation = run.evaluations["test" if len(parts) == 3 else "validation"]
    said = ", ".join(f"{name}={value!r}" for name, value in sizes_asked.items())
    split = f"{said}, history={history!r}, seed={seed}"
    command = shlex.join(["throughtime", *(word for word in sys.argv[1:] if word != "--resume")])
    _finish(run, evaluation, directory, command=command, title=Path(table).stem, split=split, table=table,
            finished=finished)  # fmt: skip


@app.command()
def predict(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Run directory that train wrote.")],
    table: Annotated[str, TABLE],
    out: Annotated[
        str | None, typer.Option(help="File to write: .csv, .parquet or .arrow. By default CSV here.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the file of --out.")] = False,
    for_spreadsheet: Annotated[
        bool,
        typer.Option("--for-spreadsheet", help="CSV: an apostrophe before texts that a spreadsheet would compute."),
    ] = False,
) -> None:
    """Predict with a trained run: a row a sequence or time step; forecasts go on from the end of each series."""
    choose_backend()
    from .data.sequences import Forecast
    from .data.tables import read_like
    from .files import path_of
    from .training.predictions import refuse_unwritable
    from .training.run import Run
    from .training.scores import has_targets

    if out is not None:  # before the work, not after it
        if path_of(out, "--out").exists() and not overwrite:
            raise RunError(f"{out} exists; choose another file, or say --overwrite.")
        refuse_unwritable(Path(out), for_spreadsheet=for_spreadsheet)
    run = Run.load(directory)
    preparation = run.preparation
    forecast: Forecast | None = preparation.forecast
    data = read_like(table, preparation.schema, forecast, per=preparation.per)
    _say(*(f"note: {note}" for note in data.notes))
    predictions = run.predict(data)
    _say(*(f"note: {note}" for note in predictions.notes))
    if forecast is None and data.target is not None and has_targets(data):
        _print_scores(run.evaluate(data, part=Path(table).name), err=True)
    if out is not None:
        typer.echo(f"wrote {predictions.write(out, overwrite=overwrite, for_spreadsheet=for_spreadsheet)}", err=True)
    else:
        from .training.predictions import without_formulas, write_table

        sys.stdout.flush()
        shown = predictions.table()
        write_table(without_formulas(shown) if for_spreadsheet else shown, sys.stdout.buffer, ".csv")


@app.command()
def stream(
    directory: Annotated[str, typer.Argument(metavar="DIR", help="Run directory that train wrote.")],
    one_sequence: Annotated[
        bool,
        typer.Option(
            "--one-sequence", help="The rows are one sequence in order: no sequence or time column is needed."
        ),
    ] = False,
) -> None:
    """Predict row by row: CSV with a header, or JSON lines, at the standard input; predictions go out at once."""
    choose_backend()
    from .stream.lines import answer_pieces, written
    from .stream.records import pieces_of
    from .training.run import Run

    run = Run.load(directory)
    forecast = run.preparation.forecast
    if forecast is not None:
        print(f"forecasts of a sequence begin with its row {forecast.window}", file=sys.stderr)
    pieces = pieces_of(sys.stdin.buffer)
    found = answer_pieces(run, pieces, one_sequence=one_sequence, note=lambda said: _say(f"note: {said}"))
    for first, (table, as_json) in enumerate(found):
        sys.stdout.buffer.write(written(table, as_json=as_json, header=first == 0))
        sys.stdout.flush()


@app.command()
def demo(
    context: typer.Context,
    out: Annotated[str, typer.Option(help="Run directory; the demo's own, replaced each time.")] = "runs/demo",
    seed: Annotated[int, typer.Option(help="Of the split, the initial weights and the batches.")] = 0,
) -> None:
    """Train on JapaneseVowels: 640 utterances of 7 to 29 frames, told apart by their nine speakers."""
    from .demo import japanese_vowels, write_parquet
    from .files import path_of, write_aside
    from .training.directory import LOCK, hold

    directory = path_of(out, "--out")
    context.with_resource(hold(directory))
    marker = directory / ".demo"
    if {path.name for path in directory.iterdir()} - {LOCK} and not marker.exists():
        raise RunError(f"{out} is not empty and not of an earlier demo; choose another directory with --out.")
    data, test = japanese_vowels()
    choose_backend()
    from .training.train import train as train_network

    _say(
        "JapaneseVowels: nine speakers say the vowels 'ae' (Kudo et al. 1999; shipped with aeon).",
        f"train {data!r}",
        f"test  {test!r}",
    )
    run = train_network(data, seed=seed)
    write_aside(marker, lambda file: None)
    run.save(directory, overwrite=True)
    _finish(run, run.evaluate(test), directory, command="throughtime demo", title="JapaneseVowels")
    table = write_parquet((data, test), directory / "vowels.parquet")
    roles = "--target speaker --sequence utterance --time frame"
    typer.echo(f"data    {table}\n\nThe same from a table: throughtime train {table} {roles}")


@app.command()
def explain(
    file: Annotated[str, typer.Argument(metavar="FILE", help="A saved model, .keras; or a run directory.")],
    batch_size: Annotated[
        int | None, typer.Option(help="Sequences of a batch: says what a training step holds of each layer.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Time steps of a sequence, for that.")] = None,
    memory: Annotated[str | None, typer.Option(help="Most bytes to hold, for that; as 256MiB.")] = None,
) -> None:
    """Say for each recurrent layer of a saved model whether it runs on the native kernel, and if not, why."""
    from .kernels.schedule import byte_count

    for option, count in (("--batch-size", batch_size), ("--steps", steps)):
        if count is not None and count < 1:
            raise ArgumentError(f"{option}={count}; give a whole number of at least 1.")
    if memory is not None:
        byte_count(memory)
    choose_backend()
    from .layers.explanation import explain as explanation_of
    from .layers.swapping import accelerate, load_model

    model = accelerate(load_model(file), memory=memory)
    typer.echo(str(explanation_of(model, batch_size=batch_size, steps=steps)))


@app.command()
def check(
    file: Annotated[str, typer.Argument(metavar="MODEL", help="A saved model, .keras, compiled; or a run directory.")],
    table: Annotated[str, TABLE],
    target: Annotated[str | None, TARGET] = None,
    sequence: Annotated[str | None, SEQUENCE] = None,
    time: Annotated[str | None, TIME] = None,
    features: Annotated[str | None, FEATURES] = None,
    dtypes: Annotated[str | None, DTYPES] = None,
    na_values: Annotated[str | None, NA_VALUES] = None,
    encoding: Annotated[str | None, ENCODING] = None,
    skip: Annotated[int | None, SKIP] = None,
    task: Annotated[str | None, TASK] = None,
    horizon: Annotated[int | None, typer.Option(help="Forecasts: how many steps ahead.")] = None,
    window: Annotated[int | None, typer.Option(help="Forecasts: how many steps back.")] = None,
    scale: Annotated[str, typer.Option(help="As the model was trained: none, standard, minmax or robust.")] = "none",
    batch_size: Annotated[int | None, typer.Option(help="Sequences of a batch; 32 by default.")] = None,
    probe_only: Annotated[bool, typer.Option("--no-train", help="Probes alone, without a short training.")] = False,
    seconds: Annotated[float, typer.Option(help="About how long it may take.")] = 30.0,
) -> None:
    """Name what keeps a saved model from learning, with evidence and remedies; exit code 1 if there is an error."""
    choose_backend()
    from .data.tables import read_like, read_table

    scale = choose("--scale", scale, ("none", "standard", "minmax", "robust"))
    if not 0 < seconds < float("inf"):
        raise ArgumentError(f"--seconds={seconds:g}; give a number above 0.")
    if batch_size is not None and batch_size < 1:
        raise ArgumentError(f"--batch-size={batch_size}; give at least 1.")
    if Path(file).is_dir():
        from .training.run import Run

        roles: dict[str, Any] = {"target": target, "sequence": sequence, "time": time, "features": features}
        roles |= {"dtypes": dtypes, "na_values": na_values, "encoding": encoding, "skip": skip}
        roles |= {"task": task, "horizon": horizon, "window": window, "scale": None if scale == "none" else scale}
        given = [f"--{name.replace('_', '-')}" for name, value in roles.items() if value is not None]
        if given:
            raise ArgumentError(
                f"{file} is a run, which has columns and scalers of its own; leave out {', '.join(given)}."
            )
        preparation = Run.load(file).preparation
        data = read_like(table, preparation.schema, preparation.forecast, per=preparation.per)
    else:
        data = read_table(
            table,
            target=column_or_columns(target),
            sequence=sequence,
            time=column_or_columns(time),
            features=columns_of(features),
            task=task,  # type: ignore[arg-type]
            horizon=horizon,
            window=window,
            dtypes=dtypes_of(dtypes),
            na_values=columns_of(na_values) or (),
            encoding=encoding,
            skip=skip,
        )
    from rich.console import Console

    from .diagnosis.printing import printed
    from .training.checking import check_saved

    diagnosis = check_saved(
        file,
        data,
        scale=scale,  # type: ignore[arg-type]
        batch_size=batch_size,
        train=not probe_only,
        seconds=seconds,
    )
    out = Console(highlight=False)
    out.print(printed(diagnosis, width=min(out.width, 110) if out.is_terminal else None), soft_wrap=True)
    if diagnosis.errors:
        raise SystemExit(1)


@app.command()
def bench(
    cells: Annotated[str, typer.Option(help="Of lstm, gru and rnn, with commas.")] = "lstm,gru,rnn",
    units: Annotated[str, typer.Option(help="Of 64, 128, 256 and 512, with commas.")] = "64,128",
    repeat: Annotated[int, typer.Option(help="Rounds of each measurement.", min=3)] = 5,
    json: Annotated[str | None, typer.Option(help="File to write all figures to.")] = None,
) -> None:
    """Time the layers beside stock Keras's on this machine: equal first, then training and prediction in turn."""
    from .files import path_of, refuse_unwritable, write_json

    if json is not None:  # before the work, not after it
        refuse_unwritable(path_of(json, "--json"))
    choose_backend()
    from rich.console import Console
    from rich.progress import Progress

    from .bench import bench as measure
    from .bench import cells_of, sizes_of, table

    names = cells_of(columns_of(cells) or ())
    sizes = sizes_of(columns_of(units) or ())
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("comparing with stock Keras", total=len(names) * len(sizes))
        result = measure(names, sizes, repeat=repeat, done=lambda: progress.advance(task))
    Console().print(table(result))
    if json is not None:
        write_json(Path(json), result)
        typer.echo(f"wrote {json}", err=True)


def _finish(
    run: Run,
    evaluation: Evaluation,
    directory: Path,
    *,
    command: str,
    title: str,
    split: str | None = None,
    table: str | None = None,
    finished: bool = False,
) -> None:
    """Writes what the directory lacks, and prints; ``finished``: its run was there before this command."""
    from .report.page import write_report

    changed = run.save_scores(directory)
    report = directory / "report.html"
    if changed or not finished or not report.exists():
        write_report(run, report, command=command, title=title, split=split, table=table)
    _print_scores(evaluation)
    typer.echo(f"\n{evaluation.verdict()}")
    for note in evaluation.notes:
        typer.echo(f"note: {note}")
    for one in run.findings:
        if one.severity != "note":
            typer.echo(f"{one.severity}: {one.code} ({one.layer}): {one.evidence} -> {one.remedy}")
    padding, seconds, backend = run.about["padding"], run.about["seconds"], run.about["versions"]["backend"]
    said = f"{counted(len(run.history), 'epoch')}, best {run.best_epoch}; {seconds:.0f} s on {backend}"
    if padding["unbucketed"]:
        said += f"; padding {padding['bucketed']:.0%} of the batches ({padding['unbucketed']:.0%} without buckets)"
    typer.echo(said)
    typer.echo(f"\nrun     {directory}\nreport  {report}")


def _print_scores(evaluation: Evaluation, *, err: bool = False) -> None:
    for rows in filter(None, (evaluation.table(), evaluation.table_by_target())):
        _print_table(rows, err=err)


def _print_table(rows: list[tuple[str, ...]], *, err: bool) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *rest = (cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in
                        enumerate(zip(row, widths, strict=True)))  # fmt: skip
        typer.echo("  ".join([first, *rest]).rstrip(), err=err)


def _say(*lines: Any) -> None:
    for line in lines:
        typer.echo(str(line), err=True)


def _in_options(said: str, *, values: bool) -> str:
    return name_options(said, values=values, commands=app.registered_commands)


def _hold_directory(context: typer.Context, table: str, out: str | None, resume: bool) -> Path:
    """``--out``, or the first free of runs/NAME, runs/NAME-2, ...; to resume, the last of them that exists.

    No other training writes there until the command ends.
    """
    from .files import path_of
    from .training.directory import hold

    if out is not None:
        directory = path_of(out, "--out")
        context.with_resource(hold(directory))
        return directory
    stem = path_of(table, "TABLE").name.split(".")[0] or "run"
    names = [Path("runs") / (stem if i == 1 else f"{stem}-{i}") for i in range(1, 10_000)]
    free = next(i for i, path in enumerate(names) if not path.exists())
    if resume and free:
        context.with_resource(hold(names[free - 1]))
        return names[free - 1]
    for directory in names[free:]:
        try:
            context.with_resource(hold(directory, new=True))
        except FileExistsError:  # another command has just taken it
            continue
        return directory
    raise RunError(f"{names[-1]} exists; clear some runs away, or choose a directory with --out.")


def _refuse_used(directory: Path) -> None:
    if (directory / "run.json").exists():
        raise RunError(f"{directory} holds a run already; choose another --out.")
    if (directory / "checkpoint.npz").exists():
        raise RunError(f"{directory} holds an unfinished run; go on with --resume, or choose another --out.")
