/** The report as one page that needs nothing else: pictures as SVG, no script, no font, nothing from a network. */
import type { IsolationReport, PeerResult } from "../result.ts";
import type { Json, Width } from "./chart.ts";
import { latencyChart, memoryChart, startChart, throughputChart, timelineChart } from "./charts.ts";
import { wallColor } from "./colors.ts";
import { comparisonChart } from "./comparison-chart.ts";
import type { Draw } from "./draw.ts";
import { byPeer, type Comparison, comparedWith, findings, hasOwn, NOT_COMPARED } from "./findings.ts";
import { digits, spellMemory, spellUs } from "./format.ts";
import { html, type Markup, raw, table } from "./html.ts";
import { isolationChart } from "./isolation-chart.ts";
import { machineRows } from "./markdown.ts";
import { methodText, PITFALLS } from "./method.ts";
import { STYLE } from "./page-style.ts";
import { TIME_HEAD, timeRows } from "./time-table.ts";
import { cellOf, mainWorkload, measuredPeers, otherPeers, peerOf, WALL_NAMES, WALL_ORDER } from "./view.ts";

export async function renderPage(report: IsolationReport, draw: Draw): Promise<string> {
  const main = mainWorkload(report) ?? "";
  const title = report.workloads.find(({ name }) => name === main)?.title ?? "";
  const date = report.started.slice(0, 10);
  const figure = (chart: (width: Width) => Json | null, name: string, text: string): Promise<Markup> =>
    drawFigure(draw, chart, name, text);
  const body = html`
<header>
<p class="note">${date} · ${report.machine.cpu}, ${report.machine.cores} cores · Linux ${report.machine.kernel} · KVM: ${report.machine.kvm}</p>
<h1>What isolation costs</h1>
<p class="lead">The same function, behind different walls: from a call in the same process to a virtual machine. Every request gets an instance that no other has used.</p>
${warnings(report)}
</header>
${fasterPart(report)}
<h2>Isolation against time</h2>
${colorKey(report)}
${await figure((width) => isolationChart(report, main, width), "Kind of wall against time from request to result", `Workload “${main}”: ${title}. Further down is a stronger kind of wall; further left is faster. ${AHEAD_NOTE}`)}
${slowerPart(report)}
${await comparisonPart(report, figure)}
<h2>Start</h2>
${await figure((width) => startChart(report, main, width), "Time until ready", "From the request until the instance could run the function, median.")}
<h2>From request to result</h2>
${await latencies(report, figure)}
<h2>All workloads</h2>
${matrix(report)}
<h2>Throughput</h2>
${await throughputs(report, figure)}
<h2>Memory</h2>
${await figure((width) => memoryChart(report, width), "Memory of an instance", "Proportional set size of the processes and memory of the kernel, for each instance that has answered and stays. Small amounts drown in what else the kernel does: a negative one means nothing to be seen.")}
<h2>When the function misbehaves</h2>
<p>Tried out, not claimed: a function that writes where nothing is, and one that never comes back.</p>
${effects(report)}
<h2>How a staged boot spends its time</h2>
${await figure((width) => timelineChart(report, width), "Timeline of a staged boot", "One boot from real mode to ring 3. Blue: what the host does, most of it the kernel's; red: what the guest does itself.")}
<h2>Peers</h2>
${peerTables(report)}
<h2>Method</h2>
${methodText(report).map((text) => html`<p>${text}</p>`)}
<h3>Pitfalls</h3>
<ul>${PITFALLS.map((text) => html`<li>${text}</li>`)}</ul>
<h2>Machine</h2>
${table(
  ["what", "is"],
  machineRows(report).map(([what, is]) => [html`<th>${what}</th>`, html`<td class="text">${is}</td>`]),
)}
<h3>To repeat</h3>
<pre><code>${report.command}</code></pre>
<p class="note">Raw samples are in report.json and report.csv beside this page.</p>
<footer>barecell ${report.machine.barecell} (${report.machine.commit}) · ${report.started} to ${report.finished}</footer>`;
  return `<!doctype html>
<html lang="en-GB">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>What isolation costs – ${date}</title>
<style>${STYLE}</style>
</head>
<body>
${body.text}
</body>
</html>
`;
}

type Figure = (chart: (width: Width) => Json | null, name: string, text: string) => Promise<Markup>;

async function drawFigure(
  draw: Draw,
  chart: (width: Width) => Json | null,
  name: string,
  text: string,
): Promise<Markup> {
  const [wide, narrow] = [chart("wide"), chart("narrow")];
  if (wide === null || narrow === null)
    return html`<p class="note">Nothing was measured that could be shown here.</p>`;
  return html`<figure role="img" aria-label="${name}"><div class="wide">${raw(await draw(wide))}</div><div class="narrow">${raw(await draw(narrow))}</div><figcaption>${text}</figcaption></figure>`;
}

function warnings(report: IsolationReport): Markup[] {
  const texts = [
    ...(report.interrupted ? ["Interrupted: this is a part of the measurement only."] : []),
    ...(report.quick ? ["A quick run, to see that all works: too few samples to be a measurement."] : []),
    ...report.warnings,
  ];
  return texts.map((text) => html`<p class="warn">${text}</p>`);
}

/** What keeps instances ready is no match for what makes one. */
const AHEAD_NOTE = "Hollow: the instance was made before the request came.";

/** First of all: what speaks against us. */
function fasterPart(report: IsolationReport): Markup {
  if (!hasOwn(report)) return html`<p class="warn">${NOT_COMPARED}</p>`;
  return html`
<h2>Faster than barecell</h2>
${cards(report, findings(report).faster, "faster", "No peer was clearly faster with any workload.")}`;
}

function slowerPart(report: IsolationReport): Markup {
  if (!hasOwn(report)) return html``;
  const { faster, slower, even } = findings(report);
  const open = `; ${even.length} comparisons of ${faster.length + slower.length + even.length} are too close to call`;
  return html`
<h2>Slower than barecell</h2>
${cards(report, slower, "slower", "No peer was clearly slower with any workload.")}
<p class="note">${comparedWith(report)} Said only where their 95 % intervals do not meet${even.length === 0 ? "" : open}.</p>`;
}

/** What is more is in the picture of all comparisons. */
const MOST_ON_CARD = 3;

function cards(report: IsolationReport, list: readonly Comparison[], kind: string, none: string): Markup {
  if (list.length === 0) return html`<p>${none}</p>`;
  return html`<ul class="cards">${[...byPeer(list)].map(([name, entries]) => {
    const factor = ({ ratio }: Comparison): number => (ratio < 1 ? 1 / ratio : ratio);
    const sorted = [...entries].sort((a, b) => factor(b) - factor(a));
    const items = sorted
      .slice(0, sorted.length === MOST_ON_CARD + 1 ? undefined : MOST_ON_CARD)
      .map((entry) => `${entry.workload} ${digits(factor(entry))}×`);
    if (items.length < sorted.length) items.push(`and ${sorted.length - items.length} more`);
    return html`<li class="${kind}"><b>${peerOf(report, name)?.title ?? name}</b><span>${items.map((item, i) => html`<span class="whole">${item}${i < items.length - 1 ? " ·" : ""}</span> `)}</span></li>`;
  })}</ul>`;
}

async function comparisonPart(report: IsolationReport, figure: Figure): Promise<Markup> {
  if (!hasOwn(report) || report.workloads.length < 2) return html``;
  return html`
<h2>Every workload</h2>
${await figure(
  (width) => comparisonChart(report, width),
  "How many times faster or slower each peer is with each workload",
  "Red: the peer is so many times faster than barecell; green: slower. The deeper, the more. Grey, =: too close to call. Empty: not measured; the table below says why.",
)}`;
}

function colorKey(report: IsolationReport): Markup {
  const used = WALL_ORDER.filter((wall) =>
    measuredPeers(report).some((peer) => peer.wall === wall && !peer.isOwn),
  );
  const entry = (color: string, text: string): Markup =>
    html`<li><i style="background:${color}"></i>${text}</li>`;
  return html`<ul class="key">${entry(wallColor("vm", true), "barecell")}${used.map((wall) => entry(wallColor(wall, false), WALL_NAMES[wall]))}</ul>`;
}

async function latencies(report: IsolationReport, figure: Figure): Promise<Markup[]> {
  const main = mainWorkload(report);
  const note =
    "Thick tick and number: median; light bar: up to p90; diamond: p99; line: from the fastest to the slowest.";
  const parts: Markup[] = [];
  for (const { name, title } of report.workloads) {
    const picture = await figure(
      (width) => latencyChart(report, name, width, name === main),
      `Distribution of times: ${name}`,
      name === main ? `${note} Thin ticks: single requests.` : note,
    );
    const numbers = timeTable(report, name);
    parts.push(
      name === main
        ? html`<h3>${name}: ${title}</h3>${picture}<details><summary>In figures</summary>${numbers}</details>`
        : html`<details><summary>${name}: ${title}</summary>${picture}${numbers}</details>`,
    );
  }
  return parts;
}

function timeTable(report: IsolationReport, workload: string): Markup {
  const rows = timeRows(report, workload).map(([title = "", wall = "", ...times]) => [
    html`<th>${title}</th>`,
    html`<td>${wall}</td>`,
    // A reason has no figures behind it.
    ...(times[1] === ""
      ? [html`<td class="text" colspan="${times.length}">${times[0] ?? ""}</td>`]
      : times.map((time) => html`<td class="num">${time}</td>`)),
  ]);
  return table(TIME_HEAD, rows, measuredPeers(report).map(rowClass), 2);
}

async function throughputs(report: IsolationReport, figure: Figure): Promise<Markup[]> {
  const names = [
    ...new Set(report.peers.flatMap(({ throughput }) => throughput.map(({ workload }) => workload))),
  ];
  const parts: Markup[] = [];
  for (const name of names) {
    parts.push(html`<h3>${name}</h3>`);
    parts.push(
      await figure(
        (width) => throughputChart(report, name, width),
        `Throughput: ${name}`,
        "Requests per second: one after the other on each core, starts and ends included.",
      ),
    );
  }
  return parts.length > 0 ? parts : [html`<p class="note">Not measured.</p>`];
}

const rowClass = (peer: PeerResult): string => (peer.isOwn ? "own" : "");

function matrix(report: IsolationReport): Markup {
  const names = report.workloads.map(({ name }) => name);
  const { faster } = findings(report);
  const rows = measuredPeers(report).map((peer) => ({
    className: rowClass(peer),
    cells: [
      html`<th>${peer.name}</th>`,
      ...names.map((workload) => {
        const found = cellOf(report, peer.name, workload);
        if (!found?.result)
          return html`<td class="num" title="${found?.reason ?? ""}">${found?.status ?? "–"}</td>`;
        const isBetter = faster.some((entry) => entry.peer === peer.name && entry.workload === workload);
        return html`<td class="num ${isBetter ? "better" : ""}">${spellUs(found.result.p50)}</td>`;
      }),
    ],
  }));
  return html`${table(
    ["", ...names],
    rows.map(({ cells }) => cells),
    rows.map(({ className }) => className),
    1,
  )}
<p class="note">Median from request to result. Red: clearly faster than barecell's fastest way that makes a VM for the request.</p>`;
}

function effects(report: IsolationReport): Markup {
  const peers = measuredPeers(report);
  const rows = peers.map((peer) => {
    const { crash, stop, memory, memoryProblem } = peer;
    const late =
      stop?.verdict === "stopped"
        ? `at most ${digits(Math.max(...stop.lateMs))} ms late`
        : (stop?.detail ?? "");
    const mark = (good: boolean, verdict: string): Markup =>
      html`<b class="${good ? "yes" : "no"}">${verdict}</b>`;
    return [
      html`<th>${peer.name}</th>`,
      html`<td class="text">${crash ? mark(crash.verdict === "contained", crash.verdict) : "–"} <span class="note">${crash?.detail ?? ""}</span></td>`,
      html`<td class="text">${stop ? mark(stop.verdict === "stopped", stop.verdict) : "–"} <span class="note">${late}</span></td>`,
      html`<td>${memory ? spellMemory(memory.proportionalBytes + memory.kernelBytes) : html`<span class="note">${memoryProblem ?? "–"}</span>`}</td>`,
    ];
  });
  return table(["", "a crash", "never comes back", "memory"], rows, peers.map(rowClass));
}

function peerTables(report: IsolationReport): Markup {
  const peers = measuredPeers(report);
  const rows = peers.map(({ title, wall, version, settings, includes, leavesOut }) => [
    html`<th>${title}</th>`,
    html`<td>${WALL_NAMES[wall]}</td>`,
    html`<td class="text">${[version, settings].filter((text) => text).join("; ")}</td>`,
    html`<td class="text">${includes}</td>`,
    html`<td class="text">${leavesOut}</td>`,
  ]);
  const others = otherPeers(report).map(({ title, reason, install }) => [
    html`<th>${title}</th>`,
    html`<td class="text">${reason ?? ""}</td>`,
    html`<td class="text">${install ?? ""}</td>`,
  ]);
  return html`${table(["peer", "wall", "version and settings", "a request includes", "and leaves out"], rows, peers.map(rowClass))}
${others.length === 0 ? "" : html`<h3>Not measured</h3>${table(["peer", "why", "how to get it"], others)}`}`;
}
