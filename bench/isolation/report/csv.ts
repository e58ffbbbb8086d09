/** Every sample, one a line. */
import type { IsolationReport } from "../result.ts";

export function renderCsv(report: IsolationReport): string {
  const lines = report.cells.flatMap(({ peer, workload, samples }) =>
    samples.map(({ turn, readyUs, resultUs, endUs }, i) =>
      [peer, workload, turn, i, readyUs === null ? "" : micro(readyUs), micro(resultUs), micro(endUs)].join(
        ",",
      ),
    ),
  );
  return `${["peer,workload,turn,sample,ready_us,result_us,end_us", ...lines].join("\n")}\n`;
}

const micro = (us: number): string => us.toFixed(3);
