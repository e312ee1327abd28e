"""The bench: how many users and how much data the service takes, and what breaks first. See README.md.

run.py plan SCENARIO            what would be done
run.py run SCENARIO             all of the following, one after the other
run.py submit SCENARIO          start everything; then: watch, collect, report RUN
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from hpcbench import running
from hpcbench.errors import BenchError
from hpcbench.plan import write_plan
from hpcbench.run_folder import REPORT_FOLDER
from hpcbench.scenario import Scenario, load_scenario

BENCH = Path(__file__).parent
RUNS = BENCH / "runs"


def say(line: str) -> None:
    """Tell whoever waits."""
    print(line, flush=True)


def main() -> int:
    """Do what the arguments say."""
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # what was started is ended by `whole`
    try:
        return int(arguments.do(arguments) or 0)
    except BenchError as err:
        print(f"{err}\n{err.hint}".strip(), file=sys.stderr)
        return 1


def plan(arguments: argparse.Namespace) -> None:
    """Print what a scenario comes to."""
    scenario = _scenario(arguments)
    with tempfile.TemporaryDirectory() as folder:
        made = write_plan(Path(folder), scenario, domain="infn.it", users=1, prefix="bench")
    say(f"{scenario.title}\n{len(made.repositories)} repositories")
    for task in made.tasks:
        rate = " then ".join(f"{per_s:g}/s for {seconds:g} s" for per_s, seconds in task.rate)
        how = rate or (f"{task.at_once} at once" + (f", {task.seconds:g} s" if task.seconds else ""))
        say(f"  wave {task.wave}  task {task.index:<4} {task.load:<12} {task.action:<10} {task.operations:>6}  {how}")


def submit(arguments: argparse.Namespace) -> None:
    """Start everything and leave."""
    run = _run(arguments)
    site = BENCH / "sites" / f"{arguments.site}.toml"
    scenario = _scenario(arguments)
    # Where a run is kept is nobody's business: the report goes elsewhere.
    command = f"hpc-bench/run.py run {scenario.name} --scale {scenario.scale:g} --site {arguments.site}"
    running.submit(run, scenario, site, command=command, prefix=arguments.prefix, say=say)
    say(f"run {run}")


def watch(arguments: argparse.Namespace) -> int:
    """Wait until it is over."""
    return int(not running.watch(arguments.run, say))


def collect(arguments: argparse.Namespace) -> None:
    """Read back, end, keep."""
    running.collect(arguments.run, say)


def stop(arguments: argparse.Namespace) -> None:
    """End a run that is no longer wanted."""
    running.stop(arguments.run)


def report(arguments: argparse.Namespace) -> int:
    """Compute everything from raw data; 1 if anything was lost, duplicated or wrong."""
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
    return load_scenario(BENCH / "scenarios" / f"{arguments.scenario}.toml", scale=arguments.scale)


def _run(arguments: argparse.Namespace) -> Path:
    if arguments.run is None:
        arguments.run = RUNS / f"{arguments.scenario}-{time.strftime('%Y%m%dT%H%M%S')}"
    run: Path = arguments.run.absolute()
    return run


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    for name, do in (("plan", plan), ("submit", submit), ("run", whole)):
        command = commands.add_parser(name, help=do.__doc__)
        command.set_defaults(do=do)
        command.add_argument("scenario")
        command.add_argument("--scale", type=float, help="1 is the whole scenario")
        if do is not plan:
            command.add_argument("--site", default="laptop")
            command.add_argument("--run", type=Path, help="folder of the run, on every node")
            command.add_argument("--prefix", default="bench", help="how bucket names begin")
        if do is whole:
            _report_options(command)
    for name, do in (("watch", watch), ("collect", collect), ("stop", stop), ("report", report)):
        command = commands.add_parser(name, help=do.__doc__)
        command.set_defaults(do=do)
        command.add_argument("run", type=Path)
        if do is report:
            _report_options(command)
    command = commands.add_parser("model", help=model.__doc__)
    command.set_defaults(do=model)
    command.add_argument("summaries", type=Path, nargs="+", help="summary.json of measured runs")
    command.add_argument("--out", type=Path, default=BENCH / "results" / "model.json")
    return parser


def _report_options(command: argparse.ArgumentParser) -> None:
    command.add_argument("--out", type=Path, help="folder for the report; default: report below the run")
    command.add_argument("--compare", type=Path, nargs="*", default=[], help="summary.json of other runs")


if __name__ == "__main__":
    sys.exit(main())
