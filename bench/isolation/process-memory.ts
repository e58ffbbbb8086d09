/** Memory of processes and of the kernel, as the kernel counts it. */
import { readdirSync, readFileSync } from "node:fs";

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    // A process may end while one looks at it.
    return "";
  }
}

/** All processes, by parent. */
function childrenByParent(): Map<number, number[]> {
  const children = new Map<number, number[]>();
  for (const name of readdirSync("/proc").filter((entry) => /^\d+$/.test(entry))) {
    // "pid (name, which may hold anything) state ppid …"
    const stat = read(`/proc/${name}/stat`);
    const parent = Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
    const list = children.get(parent);
    if (list) list.push(Number(name));
    else children.set(parent, [Number(name)]);
  }
  return children;
}

/** The process and all that it started, at any remove. */
export function processTree(root: number): number[] {
  const children = childrenByParent();
  const tree = [root];
  for (const pid of tree) tree.push(...(children.get(pid) ?? []));
  return tree;
}

/** Proportional set size: each page counts for the share of those that map it. Bytes. */
export function proportionalBytes(pids: readonly number[]): number {
  return pids.reduce((sum, pid) => {
    const kib = /^Pss:\s+(\d+) kB/m.exec(read(`/proc/${pid}/smaps_rollup`))?.[1];
    return sum + Number(kib ?? 0) * 1024;
  }, 0);
}

/** Of the whole system: what the kernel itself holds for processes and VMs. Thread stacks are in VmallocUsed on most kernels. */
const KERNEL_FIELDS = ["Slab", "PageTables", "SecPageTables", "VmallocUsed", "Percpu"];

export function kernelBytes(): number {
  const text = read("/proc/meminfo");
  return KERNEL_FIELDS.reduce((sum, field) => {
    const kib = new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(text)?.[1];
    return sum + Number(kib ?? 0) * 1024;
  }, 0);
}

/** What can be given to programs without swapping. Bytes. */
export function availableBytes(): number {
  return Number(/^MemAvailable:\s+(\d+) kB/m.exec(read("/proc/meminfo"))?.[1] ?? 0) * 1024;
}
