"""The model put to use: fitted to runs, held against those it has not seen, asked about ten thousand repositories."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hpcbench.demands import Demands, Summary, causes, fit, leave_one_out, usable
from hpcbench.errors import BenchError
from hpcbench.model import Burst, drain, most_uploads_per_s, steady

REPOSITORIES = 10_000
UPLOADS_PER_S = 1_000

LIMITS = {"OpenBao": 8.0, "RabbitMQ": 8.0}
"""Cores of what does not simply become more pods: the one active node of OpenBao, which signs every revision, and the
RabbitMQ node that leads the busiest queues. RadosGW, OSDs and functions are added as needed."""

BURSTS = ("burst-1000", "nightly-build", "churn")
"""Runs without a pause; ten-thousand is left out, since the simulation has two of its constants from it."""

PACES_S = (2.0, 10.0, 30.0)


def write_prediction(paths: Sequence[Path], out: Path, *, say: Callable[[str], None]) -> None:
    """Fit, check, predict; what is said is in the file as well. Raises BenchError if too few runs are usable."""
    runs = [run for run in (json.loads(path.read_text()) for path in paths) if usable(run)]
    if len(runs) < 4:
        raise BenchError(
            f"{len(runs)} of {len(paths)} runs are of uploads alone; the model needs four",
            hint="Give summaries of single-user, ten-thousand, burst-1000, nightly-build or churn.",
        )
    demands = fit(runs)
    off = leave_one_out(runs)
    bursts = _bursts(runs)
    document: dict[str, Any] = {
        "fitted_to": list(off),
        "cpu_s": {part: asdict(demand) for part, demand in demands.items()},
        "error_of_cpu_s_on_a_run_left_out": off,
        "error_of_seconds_on_a_run_left_out": bursts,
        "limits_cores": LIMITS,
        "predictions": [_prediction(demands, pace_s) for pace_s in PACES_S],
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=1) + "\n")
    for name, error in off.items():
        seconds = f", seconds {bursts[name]:+.0%}" if name in bursts else ""
        say(f"left out: {name}: CPU seconds {error:+.0%}{seconds}")
    for prediction in document["predictions"]:
        say(prediction["in_words"])
    say(str(out))


def _prediction(demands: Demands, pace_s: float) -> dict[str, Any]:
    found = steady(demands, uploads_per_s=UPLOADS_PER_S, repositories=REPOSITORIES, limits=LIMITS, pace_s=pace_s)
    most = most_uploads_per_s(demands, repositories=REPOSITORIES, limits=LIMITS, pace_s=pace_s)
    pods = ", ".join(f"{count} pods of {name}" for name, count in found.pods.items())
    words = (
        f"{REPOSITORIES:,} repositories, {UPLOADS_PER_S:,} uploads/s, a revision every {pace_s:g} s at most: "
        f"{found.revisions_per_s:.0f} revisions/s, {pods}, RadosGW {found.cores['RadosGW']:.0f} cores, "
        f"OSDs {found.cores['Ceph OSD']:.0f}, RabbitMQ {found.cores['RabbitMQ']:.1f} "
        f"({found.messages_per_s:,.0f} messages/s), OpenBao {found.cores['OpenBao']:.1f} "
        f"({found.signatures_per_s:.0f} signatures/s). First at its limit: {found.first_bottleneck}, "
        f"at {most:,.0f} uploads/s."
    )
    return {
        "pace_s": pace_s,
        **{name: value for name, value in asdict(found).items() if name not in {"cores", "share_of_limit"}},
        "cores": {name: round(cores, 2) for name, cores in found.cores.items()},
        "share_of_limit": {name: round(share, 2) for name, share in found.share_of_limit.items()},
        "first_bottleneck": found.first_bottleneck,
        "its_limit_uploads_per_s": round(most),
        "in_words": words,
    }


def _bursts(runs: Sequence[Summary]) -> dict[str, float]:
    """For runs that upload without a pause: how far the simulated seconds from first PUT to all visible are off."""
    found = {}
    for run in runs:
        if run["scenario"] not in BURSTS or not run["machine"]:
            continue
        demands = fit([other for other in runs if other is not run])
        uploads, _, seconds = causes(run)
        service_and_clients = max(0.05, 1.0 - run["machine"]["others"])
        cores = run["provenance"]["machine"]["cores"] * service_and_clients
        clients = (run["cpu_s"].get("k6", 0.0) + run["cpu_s"].get("probe", 0.0)) / uploads
        burst = Burst(
            uploads=int(uploads),
            repositories=run["counts"]["repositories"],
            users=32,
            cores=cores,
            client_s=clients,
        )
        simulated = drain(burst, demands)
        total = simulated.load_s + simulated.last_put_to_all_visible_s
        found[f"{run['scenario']} at scale {run['scale']:g}"] = round(total / seconds - 1.0, 3)
    return found
