/** The page's own style sheet: readable on a phone, light and dark as the reader's system is. */
import { variables } from "./colors.ts";

export const STYLE = `
:root{color-scheme:light dark;${variables("light")}}
@media (prefers-color-scheme:dark){:root{${variables("dark")}}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0 auto;max-width:60rem;padding:1.5rem 1rem 4rem;background:var(--paper);color:var(--ink);font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
h1{font-size:clamp(1.7rem,5vw,2.4rem);line-height:1.15;margin:.5rem 0 .25rem;letter-spacing:-.02em}
h2{font-size:1.35rem;margin:3rem 0 .5rem;line-height:1.25;letter-spacing:-.01em}
h3{font-size:1.05rem;margin:1.75rem 0 .25rem}
p{margin:.5rem 0;max-width:46rem}
.lead,.note{color:var(--soft)}
.note{font-size:.9rem}
.warn{border-left:4px solid var(--bad);background:var(--panel);padding:.6rem .9rem;margin:1rem 0}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(15rem,1fr));gap:.75rem;margin:1rem 0;padding:0;list-style:none}
.cards li{background:var(--panel);border-radius:.6rem;padding:.7rem .9rem;border-top:3px solid var(--tone,var(--grid))}
.cards b{display:block;margin-bottom:.15rem}
.cards span{color:var(--soft);font-size:.88rem}
.whole{white-space:nowrap}
.faster{--tone:var(--bad)}.slower{--tone:var(--good)}
.pair,figure{margin:1rem 0}
figure svg{display:block;width:100%;height:auto}
figure .narrow{display:none}
figcaption{color:var(--soft);font-size:.88rem;max-width:46rem;margin-top:.4rem}
@media (max-width:640px){figure .wide{display:none}figure .narrow{display:block}}
.scroll{overflow-x:auto;margin:1rem -1rem;padding:0 1rem}
table{border-collapse:collapse;font-size:.86rem;font-variant-numeric:tabular-nums}
th,td{padding:.38rem .6rem;text-align:left;vertical-align:top;border-bottom:1px solid var(--grid)}
th{font-weight:600;color:var(--soft);white-space:nowrap}
td.num,th.num{text-align:right;white-space:nowrap}
tr.own th,tr.own td:first-child{color:var(--own);font-weight:600}
td.better{color:var(--bad);font-weight:600}
td.text{min-width:11rem}
tbody th{white-space:normal;min-width:8.5rem;max-width:12rem;position:sticky;left:0;background:var(--paper)}
.yes{color:var(--good)}.no{color:var(--bad)}
details{margin:.6rem 0}
summary{cursor:pointer;font-weight:600;padding:.3rem 0}
.key{display:flex;flex-wrap:wrap;gap:.3rem 1rem;font-size:.85rem;color:var(--soft);margin:.5rem 0;padding:0;list-style:none}
.key i{display:inline-block;width:.75em;height:.75em;border-radius:50%;margin-right:.4em}
pre{background:var(--panel);border-radius:.5rem;padding:.7rem .9rem;overflow-x:auto;font-size:.85rem}
code{font-size:.92em}
footer{margin-top:3rem;color:var(--soft);font-size:.85rem}
@media print{details{display:block}body{max-width:none}}
`.trim();
