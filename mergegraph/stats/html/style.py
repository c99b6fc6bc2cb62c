"""How a report looks. Ramps have even steps of lightness and differ in blue and orange, not in red and green; in the
dark they run the other way, so that what is far from nothing is what stands out from the page.
"""

from __future__ import annotations

from collections.abc import Sequence

SEQUENTIAL = (
    "#ebf6f8", "#cce3eb", "#aed1e0", "#92bed5", "#76abcb", "#5d97c1", "#4682b7", "#316dad", "#29599b", "#234488",
    "#1e3075",
)  # fmt: skip
SEQUENTIAL_DARK = (
    "#202635", "#283750", "#2e4a6b", "#315e85", "#33749c", "#378ab0", "#42a1c2", "#57b7d0", "#73cddc", "#94e2e8",
    "#b8f5f5",
)  # fmt: skip
DIVERGING = (
    "#2469b9", "#5085c7", "#78a0d4", "#a0bce0", "#c8d8ec", "#f6f3f1", "#e8d1c3", "#d9b095", "#c98f68", "#b76e38",
    "#9f5103",
)  # fmt: skip
DIVERGING_DARK = (
    "#85baff", "#659bdf", "#567cae", "#465f7f", "#374353", "#2a2827", "#503e32", "#78553c", "#a36c46", "#cf844e",
    "#fd9c55",
)  # fmt: skip
LINES = ("#3072c1", "#c86f25", "#0c7c59", "#a057a4", "#8f7206", "#0f86a3", "#9a3039", "#57429c")
LINES_DARK = ("#74b1fd", "#ffb481", "#2dc08e", "#e194e5", "#f8d05c", "#7fdcf5", "#f08c8c", "#a99bf5")


def luminance(colour: str) -> float:
    """Relative luminance as WCAG has it, of `#rrggbb`."""
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def ink(colour: str) -> str:
    """Black or white, whichever can be read better on `colour`."""
    light = luminance(colour)
    return "#fff" if 1.05 / (light + 0.05) > (light + 0.05) / 0.05 else "#000"


def stylesheet() -> str:
    light = _colours(SEQUENTIAL, DIVERGING, LINES)
    dark = _colours(SEQUENTIAL_DARK, DIVERGING_DARK, LINES_DARK)
    return (
        f"{_BASE}\n:root{{{_LIGHT}}}\n{light}\n"
        f"@media (prefers-color-scheme: dark){{:root{{{_DARK}}}\n{dark}}}\n{_PRINT}"
    )


def _colours(sequential: Sequence[str], diverging: Sequence[str], lines: Sequence[str]) -> str:
    ramps = (("s", sequential), ("d", diverging))
    cells = [f".{n}{i}{{background:{c};color:{ink(c)}}}" for n, ramp in ramps for i, c in enumerate(ramp)]
    return "".join(cells) + "".join(f".l{i}{{stroke:{c}}}" for i, c in enumerate(lines))


_LIGHT = (
    "color-scheme:light dark;--page:#f7f8fa;--card:#fff;--ink:#1a2230;--dim:#5a6577;--line:#dfe4ec;--accent:#225ea8;"
    "--soft:#eef3fa"
)
_DARK = "--page:#11151c;--card:#191f29;--ink:#e4e9f1;--dim:#9aa6b8;--line:#2c3543;--accent:#82b6f5;--soft:#202938"

_BASE = """
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif}
main{max-width:1120px;margin:0 auto;padding:28px 20px 60px}
h1{font-size:1.7rem;line-height:1.2;margin:0 0 4px;letter-spacing:-.01em;overflow-wrap:anywhere}
h2{font-size:1.12rem;margin:0 0 10px}
p{margin:0 0 8px}
a{color:var(--accent);text-decoration:none}a:hover{text-decoration:underline}
.dim,.note,small{color:var(--dim)}.note{font-size:.88rem}
nav{display:flex;flex-wrap:wrap;gap:4px 16px;margin:14px 0 0;font-size:.9rem}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:18px 20px;margin:16px 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(150px,1fr));gap:12px;margin:18px 0 0}
.tile{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:12px 16px;min-width:0}
.tile b{display:block;font-size:1.45rem;line-height:1.25;font-weight:600;font-variant-numeric:tabular-nums}
.tile span{display:block;font-size:.86rem}.tile small{font-size:.78rem}
.evidence{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(320px,100%),1fr));gap:12px}
.card{border-left:3px solid var(--accent);background:var(--soft);border-radius:0 8px 8px 0;padding:10px 14px;
font-size:.93rem;overflow-wrap:anywhere}
.card h3{margin:0 0 4px;font-size:.95rem}.card p{margin:0 0 4px}.card ul{margin:4px 0;padding-left:18px}
.switch{display:flex;flex-wrap:wrap;gap:8px 14px;margin:0 0 12px}.switch[hidden]{display:none}
select{font:inherit;color:var(--ink);background:var(--card);border:1px solid var(--line);border-radius:8px;
padding:4px 8px;max-width:100%}
.formula{font:.92rem/1.4 ui-monospace,SFMono-Regular,Menlo,"DejaVu Sans Mono",monospace;color:var(--dim);margin:0}
.scroll{overflow-x:auto;margin:0 0 6px}.tall{max-height:560px;overflow-y:auto}
table{border-collapse:separate;border-spacing:0;font-variant-numeric:tabular-nums}
.plain{width:100%;font-size:.87rem}
.plain th,.plain td{padding:5px 10px;border-bottom:1px solid var(--line);text-align:left;font-weight:400;
white-space:nowrap}
.plain thead th{color:var(--dim);background:var(--card);vertical-align:bottom;white-space:normal;min-width:64px}
.plain tbody th:first-child{position:sticky;left:0;background:var(--card);max-width:46vw;overflow:hidden;
text-overflow:ellipsis}
.plain:not(.sort) tbody th:first-child{white-space:normal;min-width:130px}
.plain .n{text-align:right}
.tall thead th{position:sticky;top:0;z-index:1}
.plain button{font:inherit;color:inherit;background:none;border:0;padding:0;cursor:pointer;text-align:inherit}
.plain button:hover{color:var(--ink);text-decoration:underline}
th[aria-sort=ascending] button::after{content:" ▲"}th[aria-sort=descending] button::after{content:" ▼"}
.heat{border-spacing:2px;font-size:.8rem}
.heat th{font-weight:400;color:var(--dim);padding:0 3px;text-align:center}
.heat tbody th{text-align:right;padding-right:8px;position:sticky;left:0;background:var(--card);white-space:nowrap}
.heat td{height:26px;min-width:17px;border-radius:4px;text-align:center}
.heat:not(.wide) thead th{padding:0 1px;font-size:.72rem}.heat.wide{width:100%}.heat.wide td{min-width:56px;height:34px}
.heat td.none{background:transparent;color:var(--dim)}
.legend{display:flex;gap:8px;align-items:center;font-size:.82rem;color:var(--dim);margin-top:6px;
font-variant-numeric:tabular-nums}
.ramp{display:inline-flex;border-radius:4px;overflow:hidden}.ramp i{width:18px;height:12px}
svg{display:block;width:100%;height:auto}
svg text{font-size:10px;fill:var(--dim)}svg .e{text-anchor:end}svg .m{text-anchor:middle}svg .t{font-style:italic}
.g{stroke:var(--line);stroke-width:1;fill:none}
.l{fill:none;stroke-width:2.2;stroke-linejoin:round;stroke-linecap:round}.dashed{stroke-dasharray:5 4}
.lines{display:flex;flex-wrap:wrap;gap:2px 16px;font-size:.84rem;margin-top:4px}
.lines span{display:inline-flex;align-items:center;gap:6px}.lines svg{width:22px;height:8px}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(340px,100%),1fr));gap:18px;margin:10px 0}
figure{margin:0;min-width:0}figcaption{font-size:.86rem;color:var(--dim);margin-bottom:4px}
.odd{margin:0;padding:0;list-style:none}.odd li{padding:8px 0;border-top:1px solid var(--line);overflow-wrap:anywhere}
.odd li:first-child{border-top:0}.rule{display:inline-block;background:var(--soft);border-radius:99px;
padding:0 10px;font-size:.82rem;margin-left:4px}
details{border-top:1px solid var(--line);padding:7px 0}details:first-of-type{border-top:0}
summary{cursor:pointer;overflow-wrap:anywhere}
:target>summary{color:var(--accent)}
@media (max-width:640px){main{padding:18px 10px 40px}section{padding:14px 12px;border-radius:10px}
h1{font-size:1.35rem}
.plain th,.plain td{padding:5px 7px}.plain tbody th:first-child{max-width:42vw}.heat.wide td{min-width:50px}
svg text{font-size:16px}.two svg text{font-size:11.5px}}
"""
_PRINT = "@media print{body{background:#fff}section{break-inside:avoid}.tall{max-height:none}}"
