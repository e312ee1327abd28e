"""How many users and how much data does the service take, and what breaks first? README.md is the manual.

on this machine:   run.py run SCENARIO
on a cluster:      run.py submit SCENARIO --site SITE --run RUN --prefix PREFIX
                   run.py watch RUN; run.py collect RUN; run.py report RUN
before either:     run.py plan SCENARIO

SCENARIO and SITE are names of files in scenarios/ and sites/, RUN is the folder in which a run keeps everything.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hpcbench import running
from hpcbench.described import names
from hpcbench.errors import BenchError
from hpcbench.outlook import outlook
from hpcbench.planning import decide
from hpcbench.run_folder import REPORT_FOLDER
from hpcbench.scenario import Scenario, load_scenario

BENCH = Path(__file__).parent
RUNS = BENCH / "runs"
SCENARIOS = BENCH / "scenarios"
SITES = BENCH / "sites"


def say(line: str) -> None:
    """Tell whoever waits."""
    print(line, flush=True)


def main() -> int:
    """Do what the arguments say."""
    arguments = _parser().parse_args()
    end_at_the_first_signal()
    try:
        return int(arguments.do(arguments) or 0)
    except BenchError as err:
        print(f"{err}\n{err.hint}".strip(), file=sys.stderr)
        return 1


def end_at_the_first_signal() -> None:
    """SIGINT and SIGTERM end this program once; a second one must not keep `whole` from ending what was started."""

    def end(number: int, _: object) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        sys.exit(128 + number)

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)


def plan(arguments: argparse.Namespace) -> None:
    """Say what a scenario comes to: tasks, operations, bytes, time; nothing is started or written."""
    for line in outlook(decide(_scenario(arguments), domain="infn.it", users=1, prefix="bench")):
        say(line)


def submit(arguments: argparse.Namespace) -> None:
    """Start everything, and leave it running."""
    run = _run(arguments)
    site = SITES / f"{arguments.site}.toml"
    scenario = _scenario(arguments)
    # Where a run is kept is nobody's business: the report goes elsewhere.
    command = f"hpc-bench/run.py run {scenario.name} --scale {scenario.scale:g} --site {arguments.site}"
    running.submit(run, scenario, site, command=command, prefix=arguments.prefix, say=say)
    say(f"run {run}")


def watch(arguments: argparse.Namespace) -> int:
    """Wait until all tasks have ended and every upload is visible; 1 if one is not in the time that it has."""
    return int(not running.watch(arguments.run, say))


def collect(arguments: argparse.Namespace) -> None:
    """Have every file of every repository read back, then end what submit started; raw data are complete then."""
    running.collect(arguments.run, say)


def stop(arguments: argparse.Namespace) -> None:
    """Give a run up: end its jobs and processes, remove its credentials; what was measured so far stays."""
    running.stop(arguments.run)


def report(arguments: argparse.Namespace) -> int:
    """Compute page, pictures and numbers from raw data; 1 if anything was lost, duplicated, wrong or not read back."""
    from hpcbench.report import write_report  # noqa: PLC0415 - needs matplotlib, which a login node may lack

    return write_report(
        arguments.run.absolute(), arguments.out or arguments.run / REPORT_FOLDER, compare=arguments.compare, say=say
    )


def model(arguments: argparse.Namespace) -> None:
    """Fit the model to summaries of runs, say how far it is off, and predict a larger service."""
    from hpcbench.prediction import write_prediction  # noqa: PLC0415 - needs numpy

    write_prediction(arguments.summaries, arguments.out, say=say)


def whole(arguments: argparse.Namespace) -> int:
    """Submit, watch, collect, report; what was started is ended whatever happens."""
    arguments.run = _run(arguments)
    submit(arguments)
    try:
        watch(arguments)
        collect(arguments)
    except BaseException:
        stop(arguments)
        raise
    return report(arguments)


def _scenario(arguments: argparse.Namespace) -> Scenario:
    return load_scenario(SCENARIOS / f"{arguments.scenario}.toml", scale=arguments.scale)


def _run(arguments: argparse.Namespace) -> Path:
    if arguments.run is None:
        arguments.run = RUNS / f"{arguments.scenario}-{time.strftime('%Y%m%dT%H%M%S')}"
    run: Path = arguments.run.absolute()
    return run


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    scenarios, sites = names(SCENARIOS), names(SITES)
    for name, do in (("plan", plan), ("run", whole), ("submit", submit)):
        command = _command(commands, name, do)
        command.add_argument(
            "scenario", metavar="SCENARIO", choices=scenarios, help=f"what users do: {', '.join(scenarios)}"
        )
        command.add_argument(
            "--scale", type=float, metavar="SHARE", help="1 is the whole scenario, 0.1 about a tenth of it; default: 1"
        )
        if do is plan:
            continue
        command.add_argument(
            "--site",
            metavar="SITE",
            choices=sites,
            default="laptop",
            help=f"where: {', '.join(sites)}; default: laptop",
        )
        command.add_argument(
            "--run",
            type=Path,
            metavar="RUN",
            help="new folder for the run, which on a cluster all nodes must have; default: one below hpc-bench/runs",
        )
        command.add_argument(
            "--prefix",
            default="bench",
            help="how names of buckets and repositories begin; another one for each run on the same service, "
            "which would find the files of the run before; default: bench",
        )
        if do is whole:
            _report_options(command)
    for name, do in (("watch", watch), ("collect", collect), ("report", report), ("stop", stop)):
        command = _command(commands, name, do)
        command.add_argument("run", type=Path, metavar="RUN", help="the folder that submit was given, or named")
        if do is report:
            _report_options(command)
    command = _command(commands, "model", model)
    command.add_argument("summaries", type=Path, nargs="+", metavar="SUMMARY", help="summary.json of measured runs")
    command.add_argument(
        "--out", type=Path, metavar="FILE", default=BENCH / "results" / "model.json", help="default: %(default)s"
    )
    return parser


def _command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    do: Callable[[argparse.Namespace], int | None],
) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=do.__doc__, description=do.__doc__)
    command.set_defaults(do=do)
    return command


def _report_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", type=Path, metavar="FOLDER", help="for the report; default: report below the run")
    command.add_argument(
        "--compare", type=Path, metavar="SUMMARY", nargs="*", default=[], help="summary.json of runs to show beside it"
    )


if __name__ == "__main__":
    sys.exit(main())
