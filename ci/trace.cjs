// Has speedscope import traces, in headless Chromium. Arguments: the folder of speedscope's page, and the traces.
"use strict";
const { chromium } = require("playwright-core");
const assert = require("node:assert");
const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");

const [folder, ...traces] = process.argv.slice(2);

const server = http.createServer((request, response) => {
  const name = decodeURIComponent(new URL(request.url, "http://localhost").pathname).slice(1);
  const file = traces.find(trace => path.basename(trace) === name) || path.join(folder, path.basename(name));
  if (!fs.existsSync(file)) return response.writeHead(404).end();
  const type = { ".html": "text/html", ".js": "text/javascript", ".css": "text/css" }[path.extname(file)];
  response.writeHead(200, { "content-type": type || "application/octet-stream" }).end(fs.readFileSync(file));
});

server.listen(0, "127.0.0.1", async () => {
  const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
  try {
    for (const trace of traces) {
      const page = await browser.newPage();
      const errors = [];
      page.on("pageerror", error => errors.push(String(error)));
      page.on("dialog", dialog => (errors.push(dialog.message()), dialog.dismiss()));
      const name = path.basename(trace);
      const base = `http://127.0.0.1:${server.address().port}`;
      await page.goto(`${base}/index.html#profileURL=${encodeURIComponent(`${base}/${name}`)}`);
      // The title is the name of a track once the trace is imported.
      const loaded = page.waitForFunction(() => / - speedscope$/.test(document.title), null, { timeout: 30000 });
      await loaded.catch(() => errors.push("not imported"));
      assert.deepStrictEqual(errors, [], `${name}: ${errors}`);
      const events = JSON.parse(fs.readFileSync(trace, "utf8")).traceEvents;
      const tracks = new Set(events.filter(event => event.ph === "X").map(event => event.tid));
      // The page says which profile of how many it shows.
      const text = await page.evaluate(() => document.body.innerText);
      assert(text.includes(`/${tracks.size})`), `${name}: not ${tracks.size} tracks: ${text}`);
      console.log(`${trace}: speedscope has imported ${tracks.size} tracks, and shows "${await page.title()}"`);
      await page.close();
    }
  } finally {
    await browser.close();
    server.close();
  }
});
