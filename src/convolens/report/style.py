"""The look of the page: light and dark, on a screen, on a phone, on paper."""

STYLE = """
:root { color-scheme: light dark; --ink: #222; --soft: #5f6368; --line: #dcdfe4; --paper: #fff;
  --fold: #f3f5f8; --accent: #0072b2; --bar: #cfe3f1; --warning: #b54708; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e8e8; --soft: #a6a9ae; --line: #3a3d42; --paper: #17191c; --fold: #21252b;
    --accent: #56b4e9; --bar: #1f4e6e; --warning: #f0a35e; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; scroll-behavior: smooth; }
body { margin: 0 auto; max-width: 62rem; padding: 1.5rem 1rem 3rem; background: var(--paper);
  color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 .4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 .6rem; padding-top: .9rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.02rem; margin: 1.6rem 0 .4rem; overflow-wrap: anywhere; }
p { margin: .5rem 0; max-width: 46rem; overflow-wrap: anywhere; }
.lead { font-size: 1.12rem; }
.soft, footer { color: var(--soft); font-size: .9rem; }
.warning { color: var(--warning); }
a { color: var(--accent); }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: .15rem 1.1rem; margin: 1rem 0 0;
  padding: 0; }
nav a { display: inline-block; padding: .3rem 0; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(12.5rem, 100%), 1fr));
  gap: .8rem 1.4rem; margin: .9rem 0; }
dt { color: var(--soft); font-size: .86rem; }
dd { margin: 0; font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
pre { margin: .6rem 0; padding: .7rem .9rem; background: var(--fold); border-radius: 6px;
  font: 14px/1.5 ui-monospace, "DejaVu Sans Mono", Consolas, monospace; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.box { overflow-x: auto; margin: .8rem 0; }
.box:focus-visible, summary:focus-visible, a:focus-visible { outline: 2px solid var(--accent);
  outline-offset: 2px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
th, td { padding: .28rem .7rem; border-bottom: 1px solid var(--line); white-space: nowrap;
  text-align: left; }
th { color: var(--soft); font-weight: 500; vertical-align: bottom; }
th:first-child, td:first-child { padding-left: calc(.4rem + var(--in, 0rem)); }
.num { text-align: right; }
.fold td { background: var(--fold); font-weight: 600; }
.bar { background: linear-gradient(var(--bar) 0 0) left / calc(100% * var(--share)) 72% no-repeat;
  min-width: 8.5rem; }
figure { margin: 1.3rem 0; }
figcaption { margin-top: .5rem; max-width: 46rem; font-size: .92rem; color: var(--soft);
  overflow-wrap: anywhere; }
figcaption b { color: var(--ink); font-weight: 600; }
.sheet { background: #fff; border: 1px solid var(--line); border-radius: 6px; overflow-x: auto;
  width: fit-content; max-width: 100%; }
.sheet img { display: block; height: auto; max-width: 100%; }
.drawing { overflow-x: auto; }
.drawing svg { display: block; max-width: none; }
summary { cursor: pointer; padding: .3rem 0; color: var(--accent); }
footer { margin-top: 3rem; padding-top: .9rem; border-top: 1px solid var(--line); }
@media (prefers-color-scheme: dark) { .sheet { border-color: transparent; }
  .sheet img { filter: brightness(.9); } }
@media (max-width: 720px) {
  h1 { font-size: 1.4rem; }
  dl { grid-template-columns: repeat(auto-fill, minmax(min(9rem, 100%), 1fr)); }
  .sheet img { max-width: none; width: max(min(100%, var(--wide)), calc(.8 * var(--wide))); }
}
@media print {
  @page { margin: 14mm; }
  :root { --ink: #000; --soft: #444; --line: #ccc; --paper: #fff; --fold: #f3f5f8;
    --accent: #0072b2; --bar: #cfe3f1; --warning: #b54708; }
  body { max-width: none; padding: 0; font-size: 10.5pt; }
  nav { display: none; }
  h2, h3 { break-after: avoid; }
  figure, tr, dl > div, pre { break-inside: avoid; }
  .box, .sheet, .drawing { overflow: visible; }
  .sheet { border: 0; }
  .sheet img { width: min(100%, calc(.75 * var(--wide))); max-width: 100%; max-height: 225mm;
    object-fit: contain; filter: none; }
  p:has(+ figure) { break-after: avoid; }
  .drawing svg { max-width: 100%; height: auto; }
  table { font-size: 8.5pt; } th, td { padding: .15rem .4rem; }
  .bar, .fold td { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
}
"""
