"""Parses the command line from the commands' signatures, calls one, prints its result."""

import inspect
import logging
import sys
import warnings
from collections.abc import Callable, Sequence

from jsonargparse import ArgumentParser, set_parsing_settings

from tokzoo._memory import keep_freed_memory
from tokzoo.cli import checks, commands, evaluate, files, generation
from tokzoo.training.config import TrainConfig

COMMANDS: dict[str, Callable[..., None]] = {
    "list": commands.list_command,
    "info": commands.info,
    "download": commands.download,
    "reconstruct": commands.reconstruct,
    "encode": files.encode,
    "decode": files.decode,
    "tokenize": files.tokenize,
    "layouts": files.layouts,
    "generate": generation.generate,
    "compare": commands.compare,
    "eval": evaluate.evaluate,
    "leaderboard": evaluate.leaderboard,
    "bench": checks.bench,
    "verify": checks.verify,
    "export": checks.export,
    "doctor": checks.doctor,
    "demo": commands.demo,
}


def build_parser() -> ArgumentParser:
    """One sub-command per function; `train` takes the fields of TrainConfig, from YAML and as dotted options."""
    set_parsing_settings(parse_optionals_as_positionals=True)  # tokzoo list 'titok*'
    parser = ArgumentParser(prog="tokzoo", description="Visual tokenizers behind one registry and one API.")
    subcommands = parser.add_subcommands()
    for name, function in COMMANDS.items():
        text = inspect.getdoc(function) or ""
        sub = ArgumentParser(description=text.split("\n\nArgs:")[0])
        parameters = inspect.signature(function).parameters
        switches = [key for key, value in parameters.items() if value.default is False]
        lists = [key for key, value in parameters.items() if str(value.annotation).startswith("list")]
        for key in lists:
            required = parameters[key].default is inspect.Parameter.empty
            leads = key == next(iter(parameters))  # a list that comes first is given without its name
            option = key if required or leads else f"--{key}"
            many = "*" if leads and not required else "+"
            sub.add_argument(option, nargs=many, type=str, help=_help_of(text, key))
        sub.add_function_arguments(function, as_positional=True, as_group=False, skip={*switches, *lists})
        for key in switches:
            sub.add_argument(f"--{key}", action="store_true", help=_help_of(text, key))
        subcommands.add_subcommand(name, sub, help=text.splitlines()[0])
    text = inspect.getdoc(commands.train) or ""
    sub = ArgumentParser(description=text)
    sub.add_argument("--config", action="config", help="YAML file with these options; options given after it win")
    sub.add_class_arguments(TrainConfig, as_group=False)
    subcommands.add_subcommand("train", sub, help=text.splitlines()[0])
    return parser


def _help_of(docstring: str, parameter: str) -> str:
    """The line that a docstring's Args section gives a parameter."""
    lines = (line.strip() for line in docstring.splitlines())
    return next(line.partition(": ")[2] for line in lines if line.startswith(f"{parameter}: "))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns the exit status: 0, 1 for an error that was explained, 2 for a wrong option."""
    keep_freed_memory()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    warnings.formatwarning = lambda message, *_, **__: f"warning: {message}\n"
    parser = build_parser()
    parsed = parser.parse_args(arguments)
    name = parsed.subcommand
    options = parser.instantiate(parsed)[name].as_dict()
    options.pop("config", None)
    try:
        if name == "train":
            commands.train(TrainConfig(**options))
        else:
            COMMANDS[name](**options)
    except (ValueError, TypeError, KeyError, OSError, ImportError, RuntimeError) as error:
        text = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"tokzoo {name}: {text}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
