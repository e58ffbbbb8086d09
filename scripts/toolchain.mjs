// Names what is missing for building, with its cure, before a build tool fails with words of its own.
import { accessSync, constants } from "node:fs";
import { join } from "node:path";

const TOOLS = {
  "c++ compiler": { programs: [process.env.CXX, "g++", "c++", "clang++"], install: "g++" },
  make: { programs: ["make", "ninja"], install: "make" },
  cmake: { programs: ["cmake"], install: "cmake" },
  python3: { programs: ["python3"], install: "python3" },
};

function onPath(program) {
  const places = program.includes("/")
    ? [program]
    : (process.env.PATH ?? "").split(":").map((dir) => join(dir, program));
  return places.some((place) => {
    try {
      accessSync(place, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Ends the process with a message if a tool is missing. */
export function requireTools(names) {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number);
  if (major < 20 || (major === 20 && minor < 19)) {
    process.stderr.write(`barecell needs Node 20.19 or later; this is ${process.version}\n`);
    process.exit(1);
  }
  const missing = names.filter((name) => !TOOLS[name].programs.some((program) => program && onPath(program)));
  if (missing.length === 0) return;
  const packages = missing.map((name) => TOOLS[name].install).join(" ");
  process.stderr.write(
    `barecell: cannot build: ${missing.join(", ")} not found\n  on Debian or Ubuntu: apt-get install ${packages}\n`,
  );
  process.exit(1);
}
