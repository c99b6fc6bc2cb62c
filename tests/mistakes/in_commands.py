"""Mistakes on the command line, and files that are not what the command takes."""

from __future__ import annotations

from tests.mistakes.mistake import Mended, Mistake, command, corrected, options
from tests.mistakes.spoiling import file, lora, no_terminal

_SEARCH = """\
mergegraph: 1
search: uniform
candidates: [./base, ./code]
evaluator: {python: evaluate.py}
metrics: {accuracy: max}
select_on: dev
"""
_MERGEKIT = (
    "merge_method: linera\nmodels: [{model: ./base}, {model: ./code}]\nparameters: {weight: 0.5}\ndtype: float32\n"
)
_EXPRESSION = "-m base=base -m code=code -o out"


FILES = [
    Mistake(
        "no recipe",
        "Nothing says what to run",
        "run",
        mended=Mended('run -e "0.5*a + 0.5*b" -m a=', typed='run -e "0.5*a + 0.5*b" -m a=base -m b=code -o out'),
    ),
    Mistake(
        "a misspelt file",
        "There is no recipe blende.yaml",
        "check blende.yaml",
        mended=Mended("blend.yaml", typed="check blend.yaml"),
    ),
    Mistake("a folder", "is a folder", "check .", mended=Mended("blend.yaml", typed="check blend.yaml")),
    Mistake("the folder of a model", "is the folder of a model", "check base", mended=command("info base")),
    Mistake("the config of a model", "a file of a model", "check base/config.json", mended=command("info base")),
    Mistake(
        "a mergekit configuration with a method that is not there",
        '"linera"',
        "run merge.yml",
        spoil=file("merge.yml", _MERGEKIT),
        mended=Mended(
            "linear", typed="check merge.yml", prepare=file("merge.yml", _MERGEKIT.replace("linera", "linear"))
        ),
    ),
    Mistake(
        "a recipe given to `import`", "no mergekit configuration", "import blend.yaml", mended=command("run blend.yaml")
    ),
    Mistake("a search given to `run`", "This is a search", "run search.yaml", spoil=file("search.yaml", _SEARCH)),
    Mistake(
        "a recipe given to `search`", "is a recipe, not a search", "search blend.yaml", mended=command("run blend.yaml")
    ),
]

COMMAND_LINE = [
    Mistake("a misspelt command", '"runn"', "runn blend.yaml", mended=Mended("run", typed="run blend.yaml")),
    Mistake(
        "a misspelt option",
        '"--buget"',
        "run blend.yaml --buget 1GiB",
        mended=Mended("--budget", typed="run blend.yaml --budget 1GiB"),
    ),
    Mistake(
        "an option of another command",
        '"--budget"',
        "check blend.yaml --budget 1GiB",
        mended=Mended("plan", typed="plan blend.yaml --budget 1GiB"),
    ),
    Mistake("no threads", "1 or more", "run blend.yaml --threads 0", mended=options("--threads 1")),
    Mistake(
        "`--set` of a field that is not there",
        '"bye"',
        "check blend.yaml --set boost.bye=1",
        mended=Mended("by", typed="check blend.yaml --set boost.by=1"),
    ),
    Mistake(
        "a sweep of one path",
        "only one place",
        "check blend.yaml --sweep boost.by=0.1:0.3:0.1",
        mended=corrected("path: out}", 'path: "out/{boost.by}"}', 'path: "out/{boost.by}"'),
    ),
    Mistake(
        "a sweep with one path in `-o`",
        "-o gives one path",
        "run blend.yaml --sweep boost.by=0.1:0.3:0.1 -o out2",
        mended=Mended(
            "--set 'out.path=out2/{boost.by}'",
            typed="run blend.yaml --sweep boost.by=0.1:0.3:0.1 --set 'out.path=out2/{boost.by}'",
        ),
    ),
    Mistake(
        "a sweep without a step",
        "has no step",
        "check blend.yaml --sweep boost.by=0.1:0.3 --set 'out.path=out/{boost.by}'",
        mended=Mended(
            "--sweep boost.by=0.1:0.3:0.1",
            typed="check blend.yaml --sweep boost.by=0.1:0.3:0.1 --set 'out.path=out/{boost.by}'",
        ),
    ),
    Mistake(
        "a size of boxes where none are drawn",
        "--size means nothing beside --rail",
        "graph blend.yaml --rail --size box",
        mended=Mended("leave one of them out", typed="graph blend.yaml --rail"),
    ),
    Mistake(
        "a budget of a device that does not compute",
        "--device-budget means nothing beside --device auto",
        "run blend.yaml --device-budget 1GiB",
    ),
    Mistake(
        "the completion of a shell that is named",
        "--show-completion takes no shell",
        "--show-completion zsh",
    ),
    Mistake(
        "an expression with a name that no model has",
        '"code"',
        'run -e "0.5*base + 0.5*code" -m base=base -o out',
        mended=Mended("-m code=", typed=f'run -e "0.5*base + 0.5*code" {_EXPRESSION}'),
    ),
    Mistake(
        "a function in an expression",
        '"mean" is no function',
        f'run -e "mean(base, code)" {_EXPRESSION}',
        mended=Mended("0.5*a + 0.5*b", typed=f'run -e "0.5*base + 0.5*code" {_EXPRESSION}'),
    ),
    Mistake(
        "a product without its sign",
        '"base" at column 4 does not fit',
        f'run -e "0.5base + 0.5*code" {_EXPRESSION}',
        mended=Mended("0.5*base", typed=f'run -e "0.5*base + 0.5*code" {_EXPRESSION}'),
    ),
    Mistake(
        "an output on the Hub",
        "'hf://org/new' cannot be an output path",
        "run blend.yaml -o hf://org/new",
        mended=Mended("-o out/new, then mergegraph push out/new org/new", typed="run blend.yaml -o out/new"),
    ),
    Mistake(
        "`try` of a model of the Hub",
        "org/name is no folder of this machine",
        "try org/name",
    ),
    Mistake(
        "a cluster's price without a cluster",
        "--price means nothing",
        "plan blend.yaml --price 3",
        mended=Mended("--workers 8", typed="plan blend.yaml --price 3 --workers 8"),
    ),
    Mistake(
        "a setting that a sweep overrules",
        "is overruled",
        "check blend.yaml --set boost.by=0.4 --sweep boost.by=0.1:0.3:0.1",
    ),
    Mistake("no model to try", "mergegraph try needs MODEL", "try"),
    Mistake("a setting without a value", '"boost.by" does not say', "check blend.yaml --set boost.by"),
    Mistake("an option without its value", "--set needs a value", "check blend.yaml --set"),
    Mistake("a value for an option that takes none", "--quiet takes no value", "run blend.yaml --quiet=yes"),
    Mistake("a word too many", 'has no place for "code"', "info base code"),
    Mistake("`verify` of a folder that is no output", "not an output", "verify base"),
    Mistake(
        "`info` of an adapter",
        "is a LoRA adapter",
        "info code",
        spoil=lora,
        mended=command("run -e a -m a=./base+./code -o out/with-adapter"),
    ),
    Mistake("`watch` with no run", "No run", "watch out"),
    Mistake("`tui` without a terminal", "needs a terminal", "tui blend.yaml", during=no_terminal),
    Mistake(
        "`stats` of a record that is not there",
        "no record",
        "stats out.json",
        mended=Mended("--json out.json", typed="stats blend.yaml --json out.json"),
    ),
]
