// The rules: what is likely to be wrong, not what looks otherwise.
import js from "@eslint/js";

const browser =
  "Blob DecompressionStream Image MutationObserver ResizeObserver URL addEventListener atob clearTimeout confirm console document history " +
  "location matchMedia navigator requestAnimationFrame setInterval setTimeout window " +
  "DataView ImageData Path2D Response TextEncoder URLSearchParams WebAssembly createImageBitmap fetch performance self";

export default [
  { ignores: ["**/three.min.js", "**/web/sw.js"] },
  js.configs.recommended,
  {
    languageOptions: { globals: Object.fromEntries(browser.split(" ").map((name) => [name, "readonly"])) },
    rules: { eqeqeq: "error", "no-var": "error", "prefer-const": "error" },
  },
  { files: ["tests/**"], languageOptions: { globals: { Buffer: "readonly", process: "readonly" } } },
];
