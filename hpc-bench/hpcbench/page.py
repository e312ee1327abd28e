"""The page that a report is poured into; everything in it, nothing fetched."""

from __future__ import annotations

PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ --ink: #1d2733; --faint: #66758a; --line: #e3e8ef; --accent: #e4572e; --good: #1d7a4d; --bad: #b3261e; }}
* {{ box-sizing: border-box; }}
body {{ margin: 0; color: var(--ink); background: #f5f7fa; font: 17px/1.5 "DejaVu Sans", system-ui, sans-serif; }}
main {{ max-width: 1180px; margin: 0 auto; padding: 40px 32px 64px; }}
header p {{ color: var(--faint); margin: 4px 0; }}
h1 {{ font-size: 36px; line-height: 1.2; margin: 0 0 10px; }}
h2 {{ font-size: 22px; margin: 44px 0 14px; }}
.tiles {{ display: grid; grid-template-columns: repeat(3, 1fr); gap: 16px; margin: 28px 0 16px; }}
.tile {{ background: #fff; border: 1px solid var(--line); border-radius: 12px; padding: 18px 22px; }}
.tile b {{ display: block; font-size: 34px; line-height: 1.15; color: var(--accent); }}
.tile span {{ color: var(--faint); font-size: 15px; }}
.verdict {{ border-radius: 12px; padding: 18px 22px; color: #fff; font-size: 20px; }}
.verdict.good {{ background: var(--good); }} .verdict.bad {{ background: var(--bad); }}
.verdict small {{ display: block; font-size: 14px; opacity: .9; margin-top: 6px; }}
table {{ border-collapse: collapse; width: 100%; background: #fff; border: 1px solid var(--line); border-radius: 12px; overflow: hidden; }}
th, td {{ text-align: left; padding: 10px 16px; border-top: 1px solid var(--line); }}
th {{ color: var(--faint); font-weight: 600; font-size: 14px; border-top: 0; }}
.n {{ text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }}
.met {{ color: var(--good); font-weight: 700; text-align: right; }} .missed {{ color: var(--bad); font-weight: 700; text-align: right; }}
.limits {{ background: #fff; border-left: 5px solid var(--accent); border-radius: 0 12px 12px 0; padding: 10px 24px; }}
figure {{ background: #fff; border: 1px solid var(--line); border-radius: 12px; margin: 0 0 20px; padding: 22px 26px; }}
figure svg {{ width: 100%; height: auto; display: block; }}
code {{ background: #e9edf3; border-radius: 6px; padding: 2px 8px; font-size: 15px; }}
footer {{ color: var(--faint); font-size: 14px; margin-top: 40px; }}
@media (max-width: 720px) {{ .tiles {{ grid-template-columns: 1fr 1fr; }} }}
</style>
</head>
<body><main>
<header>
<h1>{title}</h1>
<p>scenario <b>{scenario}</b>, scale {scale} · {when}</p>
<p>{machine}</p>
</header>
<div class="tiles">{tiles}</div>
<div class="verdict {verdict_class}">{verdict}<small>{proof}</small></div>
<ul>{examples}</ul>
<h2>What limited this run</h2>
<div class="limits">{limits}</div>
<h2>Promises</h2>
<table><tr><th></th><th class="n">measured</th><th class="n">promised</th><th></th></tr>{bars}</table>
<h2>Seconds after the PUT had returned</h2>
<table><tr><th>stage</th><th class="n">uploads</th><th class="n">median</th><th class="n">90 %</th><th class="n">99 %</th><th class="n">slowest</th></tr>{stages}</table>
<h2>Over time</h2>
{pictures}
<footer>
<p>Made by <code>{command}</code> at commit {commit}.</p>
<p>{versions}</p>
<p>Clocks of all hosts were compared with the probe's; the largest error of a corrected time is {clock}. The polling design is a
model: a look every 60 s, all repositories one after the other, 0.75 s for each publish and 0.38 ms for each file.</p>
</footer>
</main></body>
</html>
"""
