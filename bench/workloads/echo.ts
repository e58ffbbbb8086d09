import type { Workload } from "./workload.ts";

const body = Array.from({ length: 512 }, (_, i) => String.fromCharCode(97 + (i % 26))).join("");
const request = [
  "POST /echo HTTP/1.1",
  "Host: function.example",
  "User-Agent: bench",
  "Accept: */*",
  "Content-Type: text/plain",
  `Content-Length: ${body.length}`,
].join("\r\n");
const response = [
  "HTTP/1.1 200 OK",
  "Content-Type: text/plain",
  "X-Headers: 5",
  `Content-Length: ${body.length}`,
].join("\r\n");
const bytes = (head: string): Uint8Array => new TextEncoder().encode(`${head}\r\n\r\n${body}`);

export const workloads: readonly Workload[] = [
  {
    name: "echo",
    title: "takes a request in the form of HTTP/1.1 with 512 bytes, and answers with them",
    order: 60,
    wasm: "workloads/wasm/echo.wasm",
    source: "workloads/c/echo.c",
    n: bytes(request).length,
    expected: bytes(response).length,
    input: bytes(request),
    output: bytes(response),
  },
];
