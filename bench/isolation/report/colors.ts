/** Colours by their role. In the page they are CSS variables, so that one picture serves light and dark; see page-style.ts. */
import type { Wall } from "../../peers/peer.ts";

export const INK = "var(--ink)";
export const FAINT = "var(--faint)";
export const GRID = "var(--grid)";
export const OWN = "var(--own)";
export const HOST = "var(--wall-container)";
export const GUEST = "var(--own)";

export const wallColor = (wall: Wall, isOwn: boolean): string => (isOwn ? OWN : `var(--wall-${wall})`);

/** For a picture that stands alone: the same names, set in the picture itself. */
export const PALETTE = {
  light: {
    "--paper": "#ffffff",
    "--ink": "#1d2330",
    "--soft": "#5b6475",
    "--faint": "#8b93a3",
    "--grid": "#e4e7ec",
    "--panel": "#f5f6f9",
    "--own": "#c2255c",
    "--good": "#2b8a3e",
    "--bad": "#c92a2a",
    "--wall-none": "#868e96",
    "--wall-language": "#e67700",
    "--wall-thread": "#a07700",
    "--wall-process": "#2b8a3e",
    "--wall-container": "#1971c2",
    "--wall-kernel": "#6741d9",
    "--wall-vm": "#0b7285",
  },
  dark: {
    "--paper": "#14171d",
    "--ink": "#e7eaf0",
    "--soft": "#a5adbc",
    "--faint": "#78818f",
    "--grid": "#2a303b",
    "--panel": "#1c2028",
    "--own": "#ff6b9d",
    "--good": "#69db7c",
    "--bad": "#ff8787",
    "--wall-none": "#adb5bd",
    "--wall-language": "#ffa94d",
    "--wall-thread": "#e0c048",
    "--wall-process": "#69db7c",
    "--wall-container": "#74c0fc",
    "--wall-kernel": "#b197fc",
    "--wall-vm": "#3bc9db",
  },
} as const;

export const variables = (theme: keyof typeof PALETTE): string =>
  Object.entries(PALETTE[theme])
    .map(([name, value]) => `${name}:${value}`)
    .join(";");
