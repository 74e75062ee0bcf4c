// Bundles the page. Without arguments into build/ui (for looking at it through a test server);
// with OUT.c OUT.d, into a C table that the server serves from memory (src/server/ui_assets.h),
// gzipped once here, and a depfile for the build.

import { build } from "esbuild";
import { createHash } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { basename, dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const here = dirname(fileURLToPath(import.meta.url));
const top = dirname(here);
const TYPES = {
  html: "text/html; charset=utf-8",
  js: "text/javascript; charset=utf-8",
  css: "text/css; charset=utf-8",
  svg: "image/svg+xml",
};

const digest = (bytes) => createHash("sha256").update(bytes).digest("hex").slice(0, 16);

/** [{ path, type, bytes, immutable }] and the files that went in. */
async function bundle() {
  const result = await build({
    absWorkingDir: top,
    entryPoints: [join(here, "src/main.jsx"), join(here, "src/style.css")],
    outdir: "out",
    bundle: true,
    minify: true,
    write: false,
    metafile: true,
    splitting: true,
    define: { global: "globalThis" }, // sockjs-client was written for bundlers that gave it one
    entryNames: "[name]",
    chunkNames: "part-[hash]",
    format: "esm",
    target: ["es2022", "chrome100", "firefox100", "safari15.4"],
    jsx: "automatic",
    jsxImportSource: "preact",
    legalComments: "none",
    charset: "utf8",
  });
  const assets = [];
  let html = await readFile(join(here, "index.html"), "utf8");
  for (const file of result.outputFiles) {
    const [stem, kind] = basename(file.path).split(".");
    // Chunks are imported by name, so they keep the one that esbuild gave them (it has a digest).
    const name = stem.startsWith("part-") ? `${stem}.${kind}` : `page-${digest(file.contents)}.${kind}`;
    if (name.startsWith("page-")) html = html.replace(`@${kind.toUpperCase()}@`, name);
    assets.push({ path: `/chat/${name}`, type: TYPES[kind], bytes: Buffer.from(file.contents), immutable: true });
  }
  const icon = await readFile(join(here, "icon.svg"));
  assets.push({ path: "/chat/icon.svg", type: TYPES.svg, bytes: icon, immutable: false });
  assets.push({ path: "/chat", type: TYPES.html, bytes: Buffer.from(html), immutable: false });
  const inputs = [...Object.keys(result.metafile.inputs), "ui/index.html", "ui/icon.svg", "ui/build.mjs"];
  return { assets, inputs };
}

function cArray(name, bytes) {
  const rows = [];
  for (let i = 0; i < bytes.length; i += 24) rows.push(`    ${[...bytes.subarray(i, i + 24)].join(",")},`);
  return `static const uint8_t ${name}[] = {\n${rows.join("\n")}\n};\n`;
}

function cTable(assets) {
  const parts = [
    "/* Made by ui/build.mjs: the files of the web chat. */",
    '#include "server/ui_assets.h"\n',
  ];
  const entries = assets.map((asset, i) => {
    const gzip = gzipSync(asset.bytes, { level: 9 });
    parts.push(cArray(`plain_${i}`, asset.bytes), cArray(`gzip_${i}`, gzip));
    return `    {.path = "${asset.path}",
     .type = "${asset.type}",
     .etag = "\\"${digest(asset.bytes)}\\"",
     .bytes = {plain_${i}, sizeof(plain_${i})},
     .gzip = {gzip_${i}, sizeof(gzip_${i})},
     .immutable = ${asset.immutable}},`;
  });
  parts.push(`const struct mdg_ui_asset mdg_ui_assets[] = {\n${entries.join("\n")}\n};`);
  parts.push(`const size_t mdg_ui_asset_count = ${assets.length};\n`);
  return parts.join("\n");
}

const { assets, inputs } = await bundle();
const [outC, outD] = process.argv.slice(2);
if (outC) {
  await writeFile(outC, cTable(assets));
  const files = inputs.map((f) => relative(process.cwd(), resolve(top, f)).replaceAll(" ", "\\ "));
  await writeFile(outD, `${outC}: ${files.join(" ")}\n`);
} else {
  for (const asset of assets) {
    const file = join(top, "build/ui", asset.path === "/chat" ? "index.html" : asset.path);
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, asset.bytes);
    console.log(`${asset.path}  ${asset.bytes.length} bytes, ${gzipSync(asset.bytes, { level: 9 }).length} gzipped`);
  }
}
