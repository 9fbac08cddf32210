"""The command line: ``k2t inspect | convert | verify | app``.

Exit codes: 0 done or verified, 1 differs, 2 bad input or unsupported, 3 a fault in k2t itself (with its traceback).
Results go to stdout, everything else to stderr. Neither framework is imported before a command needs it, so that
``--help`` answers at once. A command that opens a model works in a process of its own, with limits (`entry`).

Long because each option stands here with what it says of itself.
"""

from __future__ import annotations

import enum
import json
import os
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from k2t_core.emit.formats import FORMATS
from k2t_core.errors import K2TError, ProcessEnded, UnsupportedError, one_line
from k2t_core.progress import Progress, silent
from k2t_core.words import printable, size_text

if TYPE_CHECKING:
    from k2t_core.processes.limits import Limits
    from k2t_core.recipe import Recipe

DIFFERS, BAD_INPUT, FAULT = 1, 2, 3

app = typer.Typer(
    name="k2t",
    help="Convert a Keras model to a readable PyTorch module, and prove that both compute the same.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ModelFile = Annotated[Path, typer.Argument(metavar="MODEL", help="A .keras or .h5 file.")]
Rules = Annotated[
    Path | None,
    typer.Option(
        "--rules",
        metavar="FILE",
        help="A Python file that registers rules for your own layers (and their Keras classes).",
    ),
]
AllowUnsafe = Annotated[
    bool,
    typer.Option(
        "--allow-unsafe", help="Run Python code stored in the model (Lambda layers). Only for files you trust."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def with_formats(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command a switch for each of `FORMATS`, in the place of its ``**formats``."""
    found = signature(command, eval_str=True)
    given = [p for p in found.parameters.values() if p.kind is not p.VAR_KEYWORD]
    switches = [
        Parameter(
            name,
            Parameter.KEYWORD_ONLY,
            default=False,
            annotation=Annotated[
                bool,
                typer.Option(
                    f"--{name}", help=escape(f"Write {format.file} as well, {format.proof}. Needs {format.extra}.")
                ),
            ],
        )
        for name, format in FORMATS.items()
    ]
    command.__signature__ = found.replace(parameters=[*given, *switches])  # type: ignore[attr-defined]
    return command


class WeightsChoice(enum.StrEnum):
    """Which weights `k2t verify` compares with."""

    both = "both"
    model = "model"
    randomised = "randomised"


@app.command()
@with_formats
def convert(
    model: ModelFile,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="The folder to write to.")],
    recipe: Annotated[
        Path | None, typer.Option("--recipe", metavar="R", help="A recipe.json with overrides to replay.")
    ] = None,
    merge_recipe: Annotated[
        bool,
        typer.Option(
            "--merge-recipe",
            help="Where the recipe was made for another version of the model, keep what still applies.",
        ),
    ] = False,
    rules: Rules = None,
    allow_unsafe: AllowUnsafe = False,
    **formats: bool,
) -> None:
    """Write model.py, model.safetensors, manifest.json and recipe.json: all of them or none."""
    with at_work(rules, out) as say:
        import k2t_core as k2t
        from k2t_core.project.by_hand import verify_line

        overrides: Recipe | Path | None = recipe
        left: list[str] = []
        if recipe is not None and merge_recipe:
            overrides, left = k2t.merge(recipe, model, allow_unsafe=allow_unsafe)
        result = k2t.convert(model, out, overrides, allow_unsafe=allow_unsafe, progress=say, **formats)
    for reason in left:
        print(f"k2t: left out of the recipe: {reason}", file=sys.stderr)
    count, lines = sum(1 for _ in result.plan.root.walk()), len(result.code.text.splitlines())
    calls = f"{count} call{'s' if count != 1 else ''} of layers"
    print(printable(f"{model.name}: {calls} → {result.model_path}, {lines} lines"))
    for name in result.files:
        print(printable(f"  {result.folder / name}  {size_text((result.folder / name).stat().st_size)}"))
    print(printable(f"verify with: {verify_line(out, model, {'rules': rules, 'allow_unsafe': allow_unsafe})}"))


@app.callback(invoke_without_command=True)
def about(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="With --version: which limits this system puts on a command.")
    ] = False,
) -> None:
    if not version:
        return
    import k2t_core as k2t

    print(f"k2t {k2t.__version__}")
    if verbose:
        from k2t_core.processes.limited import in_force

        found = in_force(limits(Path.cwd()))
        print("limits of a command that opens a model:")
        for name, words in found.on.items():
            print(f"  {name}: {words}")
        for name, words in found.off.items():
            print(f"  {name}: not limited ({words})")
    raise typer.Exit(0)


@app.command()
def inspect(model: ModelFile, as_json: AsJson = False, rules: Rules = None, allow_unsafe: AllowUnsafe = False) -> None:
    """Show what each Keras layer becomes in PyTorch, and everything that cannot be converted (exit code 2)."""
    with at_work(rules) as say:
        import k2t_core as k2t
        from k2t_core.inspector.card import card_json
        from k2t_core.inspector.terminal import print_card

        say(0.5, "Reading the model")
        plan = k2t.plan(model, allow_unsafe=allow_unsafe)
        card = card_json(plan)
    print_json(card) if as_json else print_card(card)
    plan.raise_for_problems()


@app.command()
def verify(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The folder that `k2t convert` wrote.")],
    against: Annotated[Path, typer.Option("--against", metavar="MODEL", help="The Keras file it came from.")],
    inputs: Annotated[
        Path | None,
        typer.Option(
            "--inputs",
            metavar="X.npz",
            help="Your own batch in Keras's axis order: .npz, .npy, .csv, an image or a folder of images; "
            "random without it.",
        ),
    ] = None,
    batch: Annotated[int, typer.Option(help="Size of the random batch.")] = 4,
    seed: Annotated[int, typer.Option(help="Seed of the random batch and of the randomised weights.")] = 0,
    distribution: Annotated[
        str, typer.Option(help="Of the random batch: normal, uniform, image, zeros, ones.")
    ] = "normal",
    weights: Annotated[
        WeightsChoice, typer.Option(help="The model's own, randomised ones in a copy, or both.")
    ] = WeightsChoice.both,
    tolerance: Annotated[float, typer.Option(help="Largest allowed max|torch − keras| / max|keras|.")] = 1e-4,
    training: Annotated[
        bool,
        typer.Option(
            "--training", help="Compare gradients, BatchNorm's training statistics and the law of dropout as well."
        ),
    ] = False,
    search: Annotated[
        int, typer.Option(metavar="STARTS", help="Search for the worst input by gradient steps from this many starts.")
    ] = 0,
    html: Annotated[
        Path | None, typer.Option("--html", metavar="FILE", help="Write the whole report as one self-contained page.")
    ] = None,
    edge_cases: Annotated[
        bool,
        typer.Option(
            help="Compare on zeros, tiny and large numbers, a batch of 1, other sizes and the range that the model's "
            "preprocessing implies as well."
        ),
    ] = True,
    as_json: AsJson = False,
    rules: Rules = None,
    allow_unsafe: AllowUnsafe = False,
) -> None:
    """Run both frameworks on the same batch and compare every layer. Exit code 1 where they differ."""
    options: dict[str, Any] = {  # as `k2t.verify` takes them, and as the line that repeats the verification tells them
        "inputs": inputs,
        "batch": batch,
        "seed": seed,
        "distribution": distribution,
        "weights": weights.value,
        "tolerance": tolerance,
        "search": search,
        "edge_cases": edge_cases,
        "training": training,
    }
    finish(out)
    with at_work(rules, html, sandboxed=True) as say:
        import k2t_core as k2t
        from k2t_core.inspector.html_report import facts, write_html_report
        from k2t_core.inspector.terminal import print_report
        from k2t_core.project.by_hand import verify_line

        command = verify_line(out, against, {**options, "rules": rules, "allow_unsafe": allow_unsafe})
        report = k2t.verify(out, against, **options, allow_unsafe=allow_unsafe, progress=say)
        if html is not None:
            try:
                write_html_report(report, out, html, command)
            except OSError as error:
                raise K2TError(f"{html}: cannot write the report there: {error.strerror or error}") from error
    print_json(facts(report, out, command)) if as_json else print_report(report)
    if not report.passed:
        raise typer.Exit(DIFFERS)


@app.command("app")
def run_app(
    model: Annotated[Path | None, typer.Argument(metavar="[MODEL]", help="A .keras or .h5 file to open.")] = None,
    example: Annotated[
        str | None, typer.Option("--example", metavar="NAME", help="Open a bundled model instead.")
    ] = None,
    rules: Rules = None,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Listen on this address; 0.0.0.0 is every one.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=0,
            max=65535,
            envvar="STREAMLIT_SERVER_PORT",
            help="The first free one from 8501 on without it.",
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Answer requests that are sent to this name as well. May be repeated."),
    ] = None,
    allow_paths: Annotated[
        bool, typer.Option("--allow-paths", help="Where others are served: let them open files of this machine.")
    ] = False,
    allow_unsafe: Annotated[
        bool,
        typer.Option("--allow-unsafe", help="Where others are served: let them run Python code stored in a model."),
    ] = False,
    allow_snippets: Annotated[
        bool, typer.Option("--allow-snippets", help="Where others are served: let them run PyTorch code of their own.")
    ] = False,
    browser: Annotated[bool, typer.Option(help="Open the browser.")] = True,
) -> None:
    """Open the app in the browser, on a model file or a bundled example.

    The address holds a token without which nothing is answered; $K2T_TOKEN sets it. On an address or name that is not
    this machine's own alone, others are served: then users see no one's projects but theirs, and have no paths, no code
    in models and no snippets but where the options say so.
    """
    from k2t_core.permissions import Permissions
    from k2t_core.project.bundled import app_folder

    arguments = app_arguments(model, example)
    script = app_folder() / "app.py"
    if not script.is_file():
        raise K2TError(f"{script}: missing; install k2t again")
    if rules is not None:
        if not rules.is_file():
            raise K2TError(f"rules {rules}: no such file")
        os.environ["K2T_RULES"] = str(rules.resolve())

    from k2t_core.serving.server import Serving, chosen_token, serve

    token = chosen_token()
    serving = Serving(host, tuple(allow_host or ()), port, browser, *([token] if token else []))
    own = not serving.is_shared
    Permissions(
        paths=own or allow_paths,
        unsafe=own or allow_unsafe,
        snippets=own or allow_snippets,
        projects=own,
        model=str(model.resolve()) if model else None,
    ).declare()
    serve(script, arguments, serving)


def app_arguments(model: Path | None, example: str | None) -> list[str]:
    """What app.py is given to open. Raises K2TError where that is not there, or both are asked for."""
    from k2t_core.project.bundled import examples

    if model is not None and example is not None:
        raise K2TError("give a model file or --example, not both")
    if model is not None and not model.is_file():
        raise K2TError(f"{model}: no such file")
    if example is not None and example not in examples().EXAMPLES:
        raise K2TError(f"no bundled example {example!r}; one of {', '.join(examples().EXAMPLES)}")
    return [str(model.resolve())] if model else ["--example", example] if example else []


def print_json(data: Any) -> None:
    print(json.dumps(data, indent=2, ensure_ascii=False))


def finish(out: Path) -> None:
    """Finish a conversion into a folder that was interrupted, while files there may be written.

    What cannot be finished is told by whoever reads the folder.
    """
    from k2t_core.emit.committing import recover

    with suppress(OSError):
        recover(out)


def limits(*written: Path | None) -> Limits:
    """What a command that opens a model may use. written: the files and folders that it is asked to make."""
    from k2t_core.processes.limited import writable
    from k2t_core.processes.limits import Limits, cpu_limit, memory_limit

    places = (tempfile.gettempdir(), *(writable(path) for path in written if path is not None))
    return Limits(memory=memory_limit(), cpu=cpu_limit(), network=False, writes=places)


@contextmanager
def at_work(rules: Path | None, *written: Path | None, sandboxed: bool = False) -> Iterator[Progress]:
    """Where a command works: its limits are on, Keras is loaded, the rules of a user's own are registered, and
    `progress` is shown. sandboxed: a model.py will be run; torch is imported beside Keras, where that will be."""
    from k2t_core.processes.limited import put_on

    put_on(limits(*written))
    if sandboxed:
        import k2t_core.verification  # noqa: F401  # which names what is to be imported
        from k2t_core.emit.sandbox import warm

        warm()
    with progress() as say:
        load_frameworks(say)
        import k2t_core as k2t

        if rules is not None:
            k2t.load_rules(rules)
        yield say


@contextmanager
def progress() -> Iterator[Progress]:
    """A progress bar on stderr, where that is a terminal: yields ``say(share done, what is being done)``.

    What others print meanwhile (a model.py, rules, a Lambda) goes to stderr: stdout has the results alone.
    """
    with redirect_stdout(sys.stderr):
        yield from _progress()


def _progress() -> Iterator[Progress]:
    if not sys.stderr.isatty():
        yield silent
        return
    from rich import progress as bars
    from rich.console import Console

    # A handle of its own: `load_frameworks` turns off what others write to stderr.
    with os.fdopen(os.dup(2), "w") as terminal:
        console = Console(file=terminal, force_terminal=True)
        columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.TimeElapsedColumn())
        with bars.Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("Starting", total=1.0)
            yield lambda share, text: bar.update(task, completed=share, description=text)


def load_frameworks(say: Progress = silent) -> None:
    """Import Keras on TensorFlow without its start-up messages, which no setting silences; errors are shown.

    Nor what it warns of in a file: what of that matters is an error or a note of k2t's own.
    """
    warnings.filterwarnings("ignore", category=UserWarning, module=r"(keras|tf_keras)\.")
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    os.environ["KERAS_BACKEND"] = "tensorflow"  # the reference, whatever the user's own default is
    say(0.0, "Starting TensorFlow")
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        import keras  # noqa: F401
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


OPENING = ("inspect", "convert", "verify")  # the commands that open a model


def entry() -> None:
    """``k2t``: a command that opens a model runs in a process of its own, so that its end is a sentence."""
    if os.environ.get("K2T_LIMITED") or len(sys.argv) < 2 or sys.argv[1] not in OPENING or sys.platform == "win32":
        main()
    from k2t_core.processes.limited import run

    try:
        sys.exit(run("k2t_core.cli", sys.argv[1:], limits()))
    except ProcessEnded as error:
        print(f"k2t: {error}", file=sys.stderr)
        sys.exit(BAD_INPUT)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit. An error that the user can mend is a line on stderr and exit code 2."""
    try:
        app(arguments)
    except UnsupportedError as error:
        for problem in error.problems:
            print(f"k2t: {printable(problem)}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except K2TError as error:
        print(f"k2t: {printable(str(error))}", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except MemoryError as error:
        reason = one_line(error) or "an allocation failed"
        print(f"k2t: not enough memory ({reason}); give fewer samples, or a machine with more", file=sys.stderr)
        sys.exit(BAD_INPUT)
    except BrokenPipeError:  # the reader of a pipe has gone: nothing more to say
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(0)
    except Exception:
        traceback.print_exc()
        print("k2t: a fault in k2t itself; please report the lines above", file=sys.stderr)
        sys.exit(FAULT)


if __name__ == "__main__":
    entry()
